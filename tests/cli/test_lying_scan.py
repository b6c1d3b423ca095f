"""A scan of a Hub model whose server lies: the numbers of an honest one, or what went wrong, in one line each."""

import os
import random
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_lying_server import LINE
from tests.helpers.command_line import SMALL, Run
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.environment import use_hub
from tests.hub_server.mutations import CONTENT_MUTATIONS, MUTATIONS
from tests.hub_server.server import HubServer
from tests.hub_server.wire import Response

SCAN = [
    "scan", "alice/tiny", "--dataset", "alice/text", *SMALL, "--gamma", "1000", "--num-processes", "1", "--json",
    "--output-dir", "out",
]  # fmt: skip
ENDPOINTS = [
    "/api/models/alice/tiny/refs", "/api/models/alice/tiny/tree/", "/alice/tiny/resolve/", "/api/datasets/alice/text",
    "/datasets/alice/text/resolve/",
]  # fmt: skip
COUNT = 2 + int(os.environ.get("HF_LLC_LIES", "0")) // 10
SEED = int(os.environ.get("HF_LLC_LIES_SEED", "0"))
HONEST: list[Any] = []
"""What the first of the tests has found; the others need not compute it again."""
Case = tuple[str, str, bool]


def cases(count: int, seed: int) -> list[Case]:
    """So many cases drawn at random: where, which wrong answer, and whether only once."""
    every = [
        (endpoint, mutation, once)
        for endpoint in ENDPOINTS
        for mutation in (*MUTATIONS, *(CONTENT_MUTATIONS if endpoint.endswith("/resolve/") else ()))
        for once in (True, False)
    ]
    return random.Random(seed).sample(every, min(count, len(every)))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """The files of two different checkpoints."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return [read_files(save_tiny_model(folder / str(seed), seed)) for seed in range(2)]


@pytest.fixture
def honest(
    hub_server: HubServer,
    checkpoints: list[dict[str, bytes]],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> list[Any]:
    """The numbers of a server that does not lie, after which nothing is remembered."""
    monkeypatch.setattr("hf_llc.results.figures.plots.series", lambda path, *others, **named: path.touch())
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    use_hub(monkeypatch, hub_server.url, tmp_path / "hf_home")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub_server.add_dataset("alice/text", {"train.jsonl": jsonl(200)})
    repo = hub_server.add_model("alice/tiny", checkpoints[1])
    for step, files in enumerate(checkpoints):
        repo.commit(files, f"step{step}")
    if not HONEST:
        ran = run(*SCAN)
        assert ran.code == 0, ran.err
        for folder in (tmp_path / "hf_home", Path("out")):
            shutil.rmtree(folder)
        HONEST.extend(numbers(ran.json))
    return HONEST


def numbers(found: dict[str, Any]) -> list[Any]:
    """Name and number of each point."""
    return [(point["revision"], (point["estimate"] or {}).get("llc")) for point in found["points"]]


@pytest.mark.parametrize("case", cases(COUNT, SEED), ids=str)
def test_a_wrong_answer_changes_no_number(
    case: Case, honest: list[Any], hub_server: HubServer, run: Run, tmp_path: Path
) -> None:
    endpoint, mutation, once = case
    mutate, chance = {**MUTATIONS, **CONTENT_MUTATIONS}[mutation], random.Random(str(case))

    def change(response: Response) -> Response:
        results = mutate(response, chance)
        here = f"{hub_server.url}{endpoint}"
        return replace(results, headers={name: each.replace("SELF", here) for name, each in results.headers.items()})

    before = {path.name for path in tmp_path.iterdir()} | {"hf_home"}
    hub_server.faults.add(re.compile(re.escape(endpoint)), "change", times=1 if once else None, change=change)
    ran = run(*SCAN)
    assert {path.name for path in tmp_path.iterdir()} <= before
    assert not Path("/tmp/outside").exists()
    assert "Traceback" not in ran.err
    assert "\x1b" not in ran.err
    if ran.code == 0:
        assert [(name, llc) for name, llc in numbers(ran.json) if llc is not None] == honest
        return
    lines = [line for line in ran.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) <= 1
    if lines:
        assert LINE.fullmatch(lines[0])
        assert ran.out == ""
    else:  # some checkpoints could be used, and the others say why not
        result = numbers(ran.json)
        assert [each for each in result if each[1] is not None] == [each for each in honest if each in result]
