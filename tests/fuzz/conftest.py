"""A place with checkpoints and a text for all fuzz tests, without a Hub and without a cache of this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.budget import TALLY
from tests.fuzz.folders import save_all
from tests.hub_server.environment import use_hub


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that `folders.save_all` filled; offline."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, "http://127.0.0.1:9", folder / "hf_home")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        save_all(folder)
        patch.chdir(folder)
        yield folder
    for kind, count in sorted(TALLY.items()):
        print(f"{count:6} {kind}")  # noqa: T201
