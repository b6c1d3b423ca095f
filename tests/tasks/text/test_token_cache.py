"""Packed tokens on disk."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hf_llc.errors import ResourceError
from hf_llc.tasks.text import token_cache
from hf_llc.tasks.text.token_cache import StoredTokens
from hf_llc.tasks.text_generation.packing import fingerprint

TOKENS = torch.arange(12, dtype=torch.int32).reshape(3, 4)
STORED = StoredTokens(tokens=TOKENS, fingerprint=fingerprint(TOKENS), notes={"text_column": "text"})
INPUTS = {"dataset": "org/data", "revision": "0" * 40, "context_length": 4}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file for the tokens above."""
    return token_cache.path_of(tmp_path / "tokens", INPUTS)


def test_what_was_written_is_read(path: Path) -> None:
    told: list[str] = []
    token_cache.write(path, STORED)
    result = token_cache.read(path, fingerprint, told.append)
    assert result is not None
    assert torch.equal(result.tokens, TOKENS)
    assert result.tokens.dtype == torch.int32
    assert (result.fingerprint, result.notes, told) == (STORED.fingerprint, {"text_column": "text"}, [])


def test_every_input_makes_another_file_and_the_order_of_inputs_does_not(tmp_path: Path) -> None:
    same = token_cache.path_of(tmp_path, dict(reversed(INPUTS.items())))
    others = {token_cache.path_of(tmp_path, {**INPUTS, key: "else"}) for key in INPUTS}
    assert same == token_cache.path_of(tmp_path, INPUTS)
    assert len(others | {same}) == len(INPUTS) + 1


def test_what_was_never_written_is_missing_without_a_word(path: Path) -> None:
    told: list[str] = []
    assert token_cache.read(path, fingerprint, told.append) is None
    assert told == []


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_half_written_file_is_missing_and_told_of(path: Path, kept: int) -> None:
    told: list[str] = []
    token_cache.write(path, STORED)
    path.write_bytes(path.read_bytes()[:kept])
    assert token_cache.read(path, fingerprint, told.append) is None
    assert len(told) == 1
    assert f"{path} is damaged" in told[0]


def test_a_changed_token_is_noticed(path: Path) -> None:
    told: list[str] = []
    token_cache.write(path, STORED)
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    assert token_cache.read(path, fingerprint, told.append) is None
    assert told == [f"{path} does not match its fingerprint; the text is tokenized again."]


def test_nothing_but_the_file_is_left_in_the_folder_by_many_writers(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: token_cache.write(path, STORED), range(40)))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert token_cache.read(path, fingerprint, pytest.fail) is not None


def test_a_new_version_replaces_the_old_one(path: Path) -> None:
    other = TOKENS + 1
    token_cache.write(path, STORED)
    token_cache.write(path, replace(STORED, tokens=other, fingerprint=fingerprint(other)))
    result = token_cache.read(path, fingerprint, pytest.fail)
    assert result is not None
    assert torch.equal(result.tokens, other)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match="set HF_HOME to another disk"):
        token_cache.write(token_cache.path_of(tmp_path / "tokens", INPUTS), STORED)
