"""How a launch of two ranks ends when one of them does not end well."""

import os
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from hf_llc.errors import LaunchError, RankError
from hf_llc.execution.distributed.launcher import launch

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks find the tests, which are not installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


def start(ending: str) -> None:
    """Two ranks, the second of which ends like that."""
    started = time.monotonic()
    try:
        launch("tests.helpers.failing_rank", [ending], processes=2, device="cpu", threads=1)
    finally:
        assert time.monotonic() - started < 40, "the other rank was waited for"


def test_a_launch_returns_when_all_ranks_have_ended_well() -> None:
    start("well")


@pytest.mark.parametrize("content", ["{[", "distributed_type: DEEPSPEED\ngpu_ids: '0'\nnum_machines: 4\n", "mine: 1\n"])
def test_the_configuration_of_accelerate_is_not_read(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "default_config.yaml").write_text(content)
    for module in ("config.config_args", "launch"):
        monkeypatch.setattr(f"accelerate.commands.{module}.default_config_file", str(tmp_path / "default_config.yaml"))
    start("well")


@pytest.mark.parametrize("ending", ["well", "silent"])
def test_afterwards_signals_and_environment_are_as_before(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    variables = dict(os.environ)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        with pytest.raises(RankError) if ending == "silent" else nullcontext():
            start(ending)
        assert {signal.getsignal(number) for number in numbers} == {signal.default_int_handler}
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    # pytest itself keeps the name of the running test there.
    assert {**os.environ, "PYTEST_CURRENT_TEST": ""} == {**variables, "PYTEST_CURRENT_TEST": ""}


def test_a_failed_rank_is_quoted_with_its_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RankError, match=r"^what is wrong; what to do\.$") as failure:
        start("told")
    assert failure.value.exit_code == 2
    assert capfd.readouterr() == ("", "")


def test_a_rank_that_says_nothing_is_not_spoken_for() -> None:
    with pytest.raises(RankError, match=r"^$") as failure:
        start("silent")
    assert failure.value.exit_code == 3


def test_a_killed_rank_is_explained() -> None:
    with pytest.raises(LaunchError, match=r"Process 1 was killed by signal 9.*memory.*smaller `num_processes`"):
        start("killed")


def test_an_interrupted_rank_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt):
        start("interrupted")
