"""YAML with remarks: read back as what was written, whatever the values and the remarks are."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hf_llc.settings.yaml_file import WIDTH, mapping_text, read_mapping

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30)
VALUES = st.one_of(
    TEXT, st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.lists(TEXT)
)
NAMES = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(values=st.dictionaries(NAMES, VALUES, min_size=1, max_size=6), remark=TEXT)
def test_values_come_back(values: dict[str, object], remark: str, tmp_path_factory: object) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / "values.yaml"  # type: ignore[attr-defined]
    path.write_text(mapping_text(values, [remark, "second"], dict.fromkeys(values, remark)), encoding="utf-8")
    assert read_mapping(path) == values


def test_each_remark_stands_above_its_value_and_is_wrapped_between_words() -> None:
    long = "a reason with --pilot-draws in it " * 8
    lines = mapping_text({"gamma": 3.0, "lr": 1e-5}, ["What this is."], {"lr": long}).splitlines()
    assert lines[0] == "# What this is."
    at = lines.index("lr: 1e-05")
    remark = lines[lines.index("gamma: 3.0") + 1 : at]
    assert all(line.startswith("# ") and len(line) <= WIDTH + 2 for line in remark)
    assert " ".join(line.removeprefix("# ") for line in remark) == long.strip()
    assert sum(line.count("--pilot-draws") for line in remark) == 8
