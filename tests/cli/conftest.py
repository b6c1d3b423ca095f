"""The command line run in this process, with nothing of this machine around it."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.helpers.command_line import SMALL, Ran, Run
from tests.helpers.tiny_model import jsonl, save_tiny_model
from tests.hub_server import fixtures
from tests.hub_server.environment import use_hub

hub_server, hub = fixtures.hub_server, fixtures.hub

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, HF_HUB_OFFLINE, a terminal of 200 columns."""
    use_hub(monkeypatch, NOWHERE, tmp_path / "hf_home")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("HF_DEBUG", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is composed and written, but nothing is drawn in it, which takes half the time of a short command.

    Tests that look at pictures ask for `real_pictures`.
    """
    if "real_pictures" not in request.fixturenames:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(b"blank"))


@pytest.fixture
def real_pictures() -> None:
    """Pictures as users get them."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("estimate", "model", …)`: what the console script does, in this process, which goes on."""
    command = import_module("hf_llc.cli.app").run

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["hf-llc", *map(str, arguments)])
        capsys.readouterr()
        code = command()
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model; not to be changed."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .jsonl file that packs into some eighty sequences of 64 tokens."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text(jsonl(200))
    return path


@pytest.fixture
def small(run: Run, tiny: Path, text: Path) -> Run:
    """`run` of a small estimate with further options."""
    return lambda *more: run("estimate", tiny, "--dataset", text, *SMALL, *more)
