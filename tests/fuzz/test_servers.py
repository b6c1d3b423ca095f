"""Answers of a Hub that were changed on the way: the number of the true files, or one line."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.budget import TALLY, examples, recorded
from tests.fuzz.folders import TEXTS
from tests.fuzz.mutation import ODD_VALUES, WHOLE, at, paths
from tests.fuzz.outcome import Number, loss_at
from tests.fuzz.plain import loss_of
from tests.helpers.tiny_model import read_files
from tests.hub_server.blob import Blob
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer
from tests.hub_server.wire import Response

pytestmark = pytest.mark.filterwarnings("ignore")
KINDS = ["places", "places", "bytes", "status", "headers", "empty"]
MOST_REQUESTS = 14
"""Of an estimate whose text is on this disk."""


@pytest.fixture(scope="module")
def hub(place: Path) -> Iterator[HubServer]:
    """A Hub with the small Llama, asked by this process, that nobody waits for long."""
    wait = time.sleep
    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        server.add_model("org/llama", read_files(place / "llama"))
        patch.setattr(time, "sleep", lambda seconds: wait(min(seconds, 0.005)))
        yield server


def body_of(response: Response) -> bytes:
    """All of an answer's body."""
    if isinstance(response.body, bytes):
        return response.body
    blob: Blob = response.body.blob
    return b"".join(blob.chunks(response.body.start, response.body.stop, 2**20))


def other(random: Random, response: Response, log: list[object]) -> Response:
    """The answer with another body, status or headers; the length and the hash that it names stay."""
    kind, body = random.choice(KINDS), body_of(response)
    if kind == "status":
        changed = replace(response, status=random.choice([200, 204, 301, 403, 404, 418, 500, 599]))
    elif kind == "headers":
        headers = dict(response.headers)
        headers[random.choice([*headers, "ETag"])] = random.choice(["", "nope", "../x", "-1", "0", '"', "a" * 300])
        changed = replace(response, headers=headers)
    elif kind == "empty" or not body:
        changed = replace(response, body=b"")
    elif kind == "places" and _is_json(body):
        changed = replace(response, body=json.dumps(_replaced(random, json.loads(body))).encode())
    else:
        changed = replace(response, body=_cut(random, body))
    log.append((kind, changed.status, dict(changed.headers), body_of(changed)[:200]))
    return changed


def _replaced(random: Random, document: Any) -> Any:
    known = list(paths(document))
    if not known:
        return random.choice(ODD_VALUES)
    path = random.choice(known)
    if random.random() < 0.3:
        del at(document, path[:-1])[path[-1]]
    else:
        at(document, path[:-1])[path[-1]] = random.choice([*ODD_VALUES, "model.safetensors"])
    return document


def _cut(random: Random, body: bytes) -> bytes:
    place = random.randrange(len(body))
    return random.choice([*WHOLE, body[:place], body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]])


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict | list)
    except ValueError:
        return False


def test_an_honest_hub_gives_the_right_number(place: Path, hub: HubServer) -> None:
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, hub.url, place / "home")
        hub.faults.clear()
        results, plain = loss_at("hf://org/llama", place / "text.jsonl"), loss_of(place / "llama", TEXTS)
        assert isinstance(results, Number)
        assert results.n == plain.n
        assert results.loss == pytest.approx(plain.loss, rel=2e-4)


@examples(25)
@given(seed=st.integers(0, 2**32), skip=st.integers(0, MOST_REQUESTS), times=st.sampled_from([1, 1, 2, None]))
def test_a_lying_hub_gives_the_right_number_or_one_line(
    place: Path, hub: HubServer, seed: int, skip: int, times: int | None
) -> None:
    home = place / f"home-{uuid.uuid4().hex[:8]}"
    log: list[object] = []
    random = Random(seed)  # hypothesis draws in the thread of the test alone
    with pytest.MonkeyPatch.context() as patch, recorded("server", log):
        use_hub(patch, hub.url, home)
        hub.faults.clear()
        hub.faults.add("", "change", skip=skip, times=times, change=lambda response: other(random, response, log))
        result = loss_at("hf://org/llama", place / "text.jsonl")
        TALLY[f"server: {type(result).__name__}"] += 1
        if isinstance(result, Number):
            plain = loss_of(place / "llama", TEXTS)
            assert result.n == plain.n
            assert result.loss == pytest.approx(plain.loss, rel=2e-4)
