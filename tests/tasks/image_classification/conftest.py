"""What tests of image classifiers have in common."""

from pathlib import Path

import pytest

from tests.hub_server.environment import use_hub


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, no network, and no time spent on pictures."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(b"blank"))
    monkeypatch.chdir(tmp_path)
