"""Folders of finished runs in which files were changed: the number that was computed, or one line."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hf_llc
from hf_llc.report.load import load
from hf_llc.settings.data import DataSettings
from tests.fuzz.budget import TALLY, examples, recorded
from tests.fuzz.mutation import contents, damaged
from tests.fuzz.outcome import CONTEXT, REPORT, SAMPLER, bounded, refusal

pytestmark = pytest.mark.filterwarnings("ignore")

Numbers = list[tuple[str, float | None, float | None, float | None]]


@pytest.fixture(scope="module")
def scanned(place: Path) -> Path:
    """The folder of a finished scan of two checkpoints."""
    for name, source in (("checkpoint-1", "llama"), ("checkpoint-2", "sharded")):
        shutil.copytree(place / source, place / "series" / name)
    curve = hf_llc.scan(
        place / "series",
        _text(place),
        SAMPLER,
        processes=1,
        device="cpu",
        allow_duplicates=True,
        output_dir=place / "scan",
    )
    assert curve is not None
    return place / "scan"


def numbers(folder: Path) -> Numbers:
    """Every number of a run that a table or a card shows."""
    return [(point.revision, point.llc, point.stderr, point.loss) for point in load(folder).points]


@contextmanager
def copied(folder: Path, name: str, content: bytes) -> Iterator[Path]:
    """A copy of the folder in which one file has other content."""
    copy = folder.with_name("changed")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=os.link)
    (copy / name).unlink()
    (copy / name).write_bytes(content)
    yield copy


def files(folder: Path, ends: tuple[str, ...]) -> list[str]:
    """Names of the files of a run, by how they end."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(ends))


@examples(120)
@given(data=st.data())
def test_a_changed_result_is_never_shown(scanned: Path, data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(["scan.json", *[each for each in files(scanned, (".json",)) if "estimate" in each]])
    )
    content = data.draw(contents((scanned / name).read_bytes(), values=[*range(3), 0.25, -1.5, "converged", None, []]))
    with copied(scanned, name, content) as folder, recorded(f"result {Path(name).name}", content):
        run = folder / Path(name).parent
        try:
            with bounded():
                result: Numbers | None = numbers(run)
        except REPORT.EXPECTED as error:
            refusal(error)
            result = None
        TALLY[f"result {Path(name).name}: {'Refusal' if result is None else 'Number'}"] += 1
        assert result is None or result == numbers(scanned / Path(name).parent)


@pytest.fixture(scope="module")
def estimated(place: Path) -> Path:
    """The folder of a finished estimate."""
    hf_llc.estimate(place / "llama", _text(place), SAMPLER, output_dir=place / "run", device="cpu")
    return place / "run"


def _text(place: Path) -> DataSettings:
    return DataSettings(dataset=str(place / "text.jsonl"), context_length=CONTEXT)


@examples(10)
@given(data=st.data())
def test_a_run_with_changed_parts_goes_on_to_the_same_number(estimated: Path, place: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files(estimated, (".json",))))
    original = (estimated / name).read_bytes()
    content = data.draw(st.one_of(contents(original, values=[0, 0.25, -1.5, None]), damaged(original)))
    with copied(estimated, name, content) as folder, recorded("part", (name, content[:300])):
        try:
            with bounded():
                result = hf_llc.estimate(place / "llama", _text(place), SAMPLER, output_dir=folder, device="cpu")
        except REPORT.EXPECTED as error:
            refusal(error)
            TALLY["part: Refusal"] += 1
            return
        TALLY["part: Number"] += 1
        right = load(estimated).points[0]
        assert (result.llc, result.stderr, result.init_loss) == (right.llc, right.stderr, right.loss)
