"""What ends a process that holds a part of a model, while it waits for the others in a collective."""

import threading
from typing import Any

import pytest

from hf_llc.errors import LaunchError, RankError
from hf_llc.execution.distributed import model_group
from hf_llc.execution.distributed.model_group import ModelShardGroup


class FailingLink:
    """A link whose check raises this error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def check(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("rank", "error", "told"),
    [
        (0, LaunchError("What came as 'failed' does not carry\nthe signature"), True),
        (1, LaunchError("What came as 'failed' does not carry\nthe signature"), False),
        (0, RankError("", 1), False),
    ],
)
def test_the_first_process_says_why_it_ends_unless_another_one_does(
    rank: int, error: Exception, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(model_group, "LOOK", 0.01)
    monkeypatch.setattr(model_group, "PARTING", 0.01)
    monkeypatch.setattr("os._exit", end)
    waiting: Any = ModelShardGroup.__new__(ModelShardGroup)
    waiting.rank, waiting._left = rank, threading.Event()
    waiting.watch(FailingLink(error))
    assert ended.wait(10)
    assert codes == [1]
    expected = "Error: What came as 'failed' does not carry the signature\n" if told else ""
    assert capsys.readouterr().err == expected
