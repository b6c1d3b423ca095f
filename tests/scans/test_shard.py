"""Parts of a scan: together they are all of it, and what is missing is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.errors import SettingsError
from hf_llc.scans.shard import Shard, estimated, missing
from hf_llc.settings.model import ModelSettings

MODEL = ModelSettings(model="org/tiny")


@st.composite
def series(draw: st.DrawFn) -> list[Checkpoint]:
    """Checkpoints of which some have no weights and some those of an earlier one."""
    results: list[Checkpoint] = []
    for step in range(draw(st.integers(1, 30))):
        firsts = estimated(results)
        kind = draw(st.sampled_from(["own", "none", "copy"]))
        results.append(
            Checkpoint(
                name=f"step{step}",
                model=MODEL,
                weights=None if kind == "none" else "safetensors",
                problem="no weights" if kind == "none" else None,
                duplicate_of=draw(st.sampled_from(firsts)) if kind == "copy" and firsts else None,
            )
        )
    return results


@given(series(), st.integers(1, 12))
def test_each_checkpoint_is_in_one_part(checkpoints: list[Checkpoint], count: int) -> None:
    parts = [Shard(index, count).own(checkpoints) for index in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(each.name for each in checkpoints)


@given(series(), st.integers(1, 12))
def test_parts_are_as_even_as_can_be_and_copies_stay_with_the_first(checkpoints: list[Checkpoint], count: int) -> None:
    parts = [set(Shard(index, count).own(checkpoints)) for index in range(1, count + 1)]
    sizes = [len(part & set(estimated(checkpoints))) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    copies = [each for each in checkpoints if each.duplicate_of is not None]
    assert all(({each.name, each.duplicate_of} <= part) for each in copies for part in parts if each.name in part)


@given(series(), st.integers(1, 12))
def test_nothing_is_missing_once_every_part_that_has_work_is_there(checkpoints: list[Checkpoint], count: int) -> None:
    parts = [part for index in range(1, count + 1) if (part := Shard(index, count)).own(checkpoints)]
    assert missing([part.to_dict(checkpoints) for part in parts], [each.name for each in checkpoints]) == []


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "a/b", "-1/2", "1/2/3", "", "1.0/2", "²/3"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="such as 1/8 to 8/8"):
        Shard.parse(text)


def test_a_part_is_read_as_written() -> None:
    assert (Shard.parse("2/8"), Shard.parse(None).is_whole, Shard.parse("1/1").is_whole) == (Shard(2, 8), True, True)


def test_what_is_missing_is_named() -> None:
    checkpoints = [Checkpoint(name=f"step{step}", model=MODEL, weights="bin") for step in range(4)]
    parts = [Shard(index, 3).to_dict(checkpoints) for index in (1, 2, 3)]
    assert missing(parts, ["step0", "step1", "step2", "step3"]) == []
    assert missing([parts[0], parts[2]], ["step0", "step3", "step2"]) == [
        "Missing parts: 2/3.",
        "Missing checkpoints: step1.",
    ]
    assert missing([Shard(index, 9).to_dict(checkpoints) for index in (1, 2, 3)], ["step0", "step1", "step2"]) == [
        "Missing parts: 4/9.",
        "Missing checkpoints: step3.",
    ]
    other = Shard(2, 3).to_dict(checkpoints[:2])
    assert "different lists of checkpoints" in missing([parts[0], other, parts[2]], ["step0", "step1", "step2"])[0]
