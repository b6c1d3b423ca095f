"""Which column is taken for the text."""

from collections.abc import Mapping

import pytest

from hf_llc.errors import UnusableError
from hf_llc.tasks.text.columns import Kind, kinds_of, text_column

PROSE = ["once upon a time", "there was a heron"]


def column(*rows: Mapping[str, object], wanted: str | None = None, typed: bool = True) -> str:
    """The text column of these rows."""
    return text_column(
        kinds_of(rows, typed=typed), wanted, "t", lambda name: [str(row[name]) for row in rows if row.get(name)]
    )


@pytest.mark.parametrize(
    "other",
    [
        {"id": "a 1"},
        {"doc_id": "once upon a time"},
        {"source": "web and books"},
        {"lang": "en"},
        {"url": "https://a/b c"},
        {"created_at": "2020-01-01 at noon"},
        {"label": "very positive"},
        {"thing": "x17"},
        {"thing": "https://example.org/1"},
        {"thing": "3f2a9c"},
    ],
)
def test_what_is_named_or_reads_like_an_id_is_not_text(other: dict[str, object]) -> None:
    (name,) = other
    message = f"no column text, and {name}, its only column of strings, may not be one; its columns are {name}, n\\..*"
    with pytest.raises(UnusableError, match=message + f"set `text_column={name}`"):
        column({**other, "n": 1})
    assert column({**other, "n": 1}, wanted=name) == name


@pytest.mark.parametrize("value", [[{"role": "user"}], [1, 2], {"role": ["user"]}])
def test_a_list_beside_the_only_column_of_strings_may_be_the_text(value: object) -> None:
    with pytest.raises(UnusableError, match="its columns are note, messages"):
        column({"note": "a few words", "messages": value})
    assert column({"content": "word", "messages": value}) == "content"


@pytest.mark.parametrize("name", ["content", "Text", "raw_content", "document", "sentence", "code", "page_content"])
def test_usual_names_are_text_whatever_they_hold(name: str) -> None:
    assert column({name: "x", "tags": ["a"], "id": 7}) == name


def test_any_name_is_text_if_it_reads_like_it() -> None:
    assert column(*[{"utterance": text, "n": 1} for text in PROSE]) == "utterance"
    assert column(*[{"utterance": text} for text in ["\u6cb3\u6c34\u6d41", "\u9e6d\u7ad9"]]) == "utterance"
    assert column(*[{"chain": "ACGT" * 100} for _ in range(3)]) == "chain"


def test_values_that_repeat_are_names_of_classes() -> None:
    with pytest.raises(UnusableError, match="mood, its only column of strings, may not be one"):
        column(*[{"mood": f"mood number {n % 5}"} for n in range(100)])


def test_in_a_table_without_types_numbers_are_no_text_unless_they_are_asked_for() -> None:
    rows = [{"body": "two words", "n": "7", "flag": "true"}, {"body": "other words", "n": "", "flag": "false"}]
    assert kinds_of(rows, typed=False) == {"body": Kind.TEXT, "n": Kind.NUMERAL, "flag": Kind.NUMERAL}
    assert column(*rows, typed=False) == "body"
    assert column(*rows, wanted="n", typed=False) == "n"
    assert column({"text": "1999"}, {"text": "2000"}, typed=False) == "text"
    with pytest.raises(UnusableError, match="has no column of strings; its columns are year"):
        column({"year": "1999"}, typed=False)


def test_columns_of_later_rows_count_too() -> None:
    assert column({"n": 1}, {"n": 2, "text": None}, {"n": 3, "text": "a"}) == "text"
    assert column({"n": 1}, {"text": None}) == "text"
