"""Tables in a narrow terminal: texts are cut, numbers never."""

from importlib import import_module

import pytest

from hf_llc.measures.influence.estimate import influence
from hf_llc.results.susceptibility import Susceptibility
from tests.sampling.test_covariance import importance_pairs, least_squares

NUMBERS = ["1023", "-0.000314 ± 0.000029", "0.623 ± 0.017"]


@pytest.mark.parametrize("columns", [20, 60, 80, 120])
def test_numbers_are_whole_in_a_narrow_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    number, influence, correlation = NUMBERS
    row = [number, "the first text " * 3, number, "the second text " * 3, influence, correlation]
    headers = ["#", "first", "#", "second", "influence, nats per unit of weight", "correlation"]
    import_module("hf_llc.cli.output").write_table("", headers, [row], texts=(1, 3))
    lines = capsys.readouterr().out.splitlines()
    assert all(each in lines[-1] for each in NUMBERS)
    assert "the fir" in lines[-1]
    assert "the sec" in lines[-1]
    if columns >= 80:
        assert max(map(len, lines)) <= columns


def test_how_many_pairs_are_far_from_0_is_not_how_many_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    result = influence(importance_pairs(least_squares(), 2000, seed=0), [f"item {number}" for number in range(20)])
    far = sum(
        abs(result.influence[one, other]) > 3 * result.influence_stderr[one, other]
        for one in range(20)
        for other in range(one)
    )
    assert 3 < far < 190
    command = import_module("hf_llc.cli.influence")
    command._write(result, command.Form.HUMAN, 3)
    title = f"Largest 3 of {far} that lie more than 3 standard errors from 0; about 1 would by chance"
    assert title in " ".join(capsys.readouterr().out.split())


def test_a_token_is_named_with_the_text_around_it() -> None:
    result = object.__new__(Susceptibility)
    vars(result).update(items=("One", " day", "\n", " a", " cat", "Two"), items_are_tokens=True, gaps=(0, 5))
    assert result.item_in_text(3) == "␣a in One day↵‹␣a› cat"
    assert result.item_in_text(5) == "Two in ‹Two›"
    vars(result).update(items_are_tokens=False)
    assert result.item_in_text(1) == "␣day"
