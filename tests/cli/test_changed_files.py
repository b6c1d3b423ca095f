"""What was changed on disk is neither shown nor published: the number that was computed, or one line."""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc.errors import SourceError
from hf_llc.execution.store import RunStore
from hf_llc.report.export import curve_of, keep
from hf_llc.report.load import load_run
from hf_llc.results.curve import Point
from hf_llc.results.estimate import Verdict
from hf_llc.results.jsonl import curve_from, lines_of
from hf_llc.settings.strict_json import sealed
from tests.cli.conftest import NOWHERE
from tests.helpers.command_line import SMALL, Ran, Run, refused
from tests.helpers.estimates import DIAGNOSTICS, estimate
from tests.helpers.fake_runs import quick_picture
from tests.helpers.json_mutations import changed_bytes, changed_text, changed_value
from tests.hub_server.environment import use_hub

MUTATIONS = int(os.environ.get("HF_LLC_MUTATIONS", "25"))
"""Of each kind; a longer search sets the variable."""
FILES = ("scan/scan.json", "single/estimate.json")


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that take no time."""
    if "HF_LLC_PICTURES" not in os.environ:
        monkeypatch.setattr("hf_llc.results.figures.plots.series", quick_picture)
        monkeypatch.setattr("hf_llc.results.figures.comparison.comparison", quick_comparison)


def quick_comparison(path: Path, drawn: object, reasons: object, *, view: object) -> None:
    """A stand-in for `comparison.comparison`."""
    quick_picture(path, reasons, name="")


@pytest.fixture
def runs() -> Path:
    """A folder with the scan `scan`, which `hf-llc merge` takes, and the estimate `single`."""
    odd = replace(DIAGNOSTICS, free_distance=float("inf"), trace_hessian=float("nan"))
    records = [estimate(step, 0.17 + step, diagnostics=odd if step == 2 else DIAGNOSTICS) for step in (1, 2, 4)]
    points = [Point(revision=f"step{each.step}", sha=each.sha, step=each.step, estimate=each) for each in records]
    points += [
        Point(revision="step5", step=5, duplicate_of="step4", estimate=records[-1]),
        Point(revision="step8", step=8, error="no weights"),
        Point(revision="step16", step=16, estimate=estimate(16, None, verdict=Verdict.DIVERGED)),
    ]
    folder = Path("scan").resolve()
    keep(curve_of("org/model", points, folder), folder)
    store = RunStore(folder, pytest.fail)
    store.open({"schema": 1, "model": "org/model"})
    store.write("shared", {"settings": {"gamma": 7800.0}})
    store.write(
        "shards/shard-1-of-1", {"index": 1, "count": 1, "busy": 1, "selection": [point.revision for point in points]}
    )
    RunStore(Path("single"), pytest.fail).write(
        "estimate", estimate(4, 0.17, cross_check={"method": "lanczos"}).to_dict()
    )
    return Path.cwd()


def commands(run: Run, file: str) -> Iterator[Ran]:
    """Every command that reads a number from the file, in turn."""
    folder = file.partition("/")[0]
    yield run("show", folder, "--json")
    yield run("compare", folder, folder, "--json")
    yield run("publish", folder, "--dry-run")
    if folder == "scan":
        yield run("merge", folder, "--output-dir", "merged", "--json")


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    stored = json.loads(path.read_bytes())
    change(stored)
    path.write_text(json.dumps(stored))


def set_llc(stored: Any) -> None:
    """9.17 for 0.17, everywhere that it stands."""
    record = stored["payload"] if "payload" in stored else stored["points"][0]["estimate"]
    record["llc"] = 9.17
    if "points" in stored:
        stored["points"][0]["llc"] = 9.17


@pytest.mark.parametrize("file", FILES)
def test_a_digit_that_was_edited_is_refused_by_every_command(run: Run, runs: Path, file: str) -> None:
    edit(runs / file, set_llc)
    for ran in commands(run, file):
        line = refused(ran, 1, f"{file} is damaged .*checksum does not match.*Delete it and run the same command again")
        assert "9.17" not in line


@pytest.mark.parametrize("file", FILES)
def test_a_file_without_a_checksum_is_refused(run: Run, runs: Path, file: str) -> None:
    edit(runs / file, lambda stored: stored.pop("checksum"))
    for ran in commands(run, file):
        refused(ran, 1, f"{file} is damaged or was not written by hf-llc: it has no checksum")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("form", ["pretty", "reordered", "windows", "utf-16", "whole floats as integers", "moved"])
def test_what_changes_no_value_changes_nothing(run: Run, runs: Path, file: str, form: str) -> None:
    before = run("show", Path(file).parent, "--json").json
    path, stored = runs / file, json.loads((runs / file).read_bytes())
    if form == "pretty":
        path.write_text(json.dumps(stored, indent=2))
    elif form == "reordered":
        path.write_text(json.dumps(stored, sort_keys=True))
    elif form == "windows":
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(stored, indent=2).replace("\n", "\r\n").encode())
    elif form == "utf-16":
        path.write_text(json.dumps(stored), encoding="utf-16")
    elif form == "whole floats as integers":
        path.write_text(json.dumps(stored).replace(".0,", ","))
        assert "7800," in path.read_text()
    else:
        path.parent.rename(runs / "elsewhere")
        shutil.copytree(runs / "elsewhere", path.parent)
    assert run("show", Path(file).parent, "--json").json == before


def test_the_same_command_makes_again_what_was_changed(run: Run, tiny: Path, text: Path) -> None:
    shutil.copytree(tiny, "series/step1")
    options = ["--dataset", text, *SMALL, "--num-processes", 1, "--json", "--output-dir", "all"]
    first = run("scan", "series", *options).json["points"]
    record, chain = (next(Path("all/points").glob(f"*/{name}.json")) for name in ("estimate", "chains/000"))
    before = chain.read_bytes()
    edit(Path("all/scan.json"), set_llc)
    edit(record, set_llc)
    chain.write_bytes(next(Path("all/points").glob("*/chains/001.json")).read_bytes())
    again = run("scan", "series", *options)
    assert [point["llc"] for point in again.json["points"]] == [point["llc"] for point in first]
    assert f"{Path('all/scan.json')} is damaged or was changed; it is computed again." in again.err.splitlines()
    assert any(
        line.endswith("is damaged (half-written or changed); it is computed again.") for line in again.complaints
    )
    assert any(line.endswith("is a part of another run; it is computed again.") for line in again.complaints)
    assert json.loads(chain.read_bytes())["payload"]["deltas"] == json.loads(before)["payload"]["deltas"]
    assert run("show", "all", "--json").json["points"] == again.json["points"]


@pytest.mark.parametrize("name", ["inputs", "shared", "shards/shard-1-of-1"])
def test_merge_names_the_part_that_was_changed(run: Run, runs: Path, name: str) -> None:
    path = runs / f"scan/{name}.json"
    edit(path, lambda stored: stored["payload"].update(more=1))
    refused(run("merge", "scan", "--output-dir", "merged"), 1, f"{name}.json is damaged .*Delete it and run the same")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda point: point.update(llc="abc"), r"points\[0\]\.llc is 'abc', but its record says 1\.17"),
        (lambda point: point["estimate"].update(llc="abc"), r"points\[0\]\.estimate\.llc must be a number, got 'abc'"),
        (lambda point: point["estimate"].update(init_loss=None), r"estimate\.init_loss must be a number, got None"),
        (lambda point: point["estimate"].pop("verdict"), r"points\[0\]\.estimate\.verdict is missing"),
        (lambda point: point.pop("estimate"), r"points\[0\] has no estimate"),
        (lambda point: point["estimate"].update(verdict="fine"), "must be one of converged, .* got 'fine'"),
        (lambda point: point["estimate"].update(stderr=-0.42), r"estimate\.stderr is -0\.42, below 0"),
        (lambda point: point["estimate"]["settings"].update(chains=True), "chains must be a whole number, got True"),
        (lambda point: point["estimate"]["settings"].update(seed=10**400), "must be a whole number of ordinary size"),
        (lambda point: point["estimate"].update(choices=["a" * 9999]), "choices must be a mapping, got a list"),
        (lambda point: point["estimate"].update(extra=1), r"estimate\.extra is no field of this version"),
        (lambda point: point.update(step=-1), r"points\[0\]\.step is -1, below 0"),
        (lambda point: point.update(step="512"), r"points\[0\]\.step must be a whole number, got '512'"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_named_even_under_a_fresh_checksum(
    run: Run, runs: Path, change: Callable[[Any], Any], message: str
) -> None:
    stored = json.loads((runs / "scan/scan.json").read_bytes())
    change(stored["points"][0])
    (runs / "scan/scan.json").write_text(json.dumps(sealed(stored)))
    refused(run("show", "scan"), 1, message)


@pytest.mark.parametrize("kind", ["bytes", "values", "text"])
@pytest.mark.parametrize("file", FILES)
def test_a_mutated_file_gives_the_number_that_was_computed_or_one_line(
    run: Run, runs: Path, file: str, kind: str
) -> None:
    draw, path = random.Random(f"{file} {kind}"), runs / file
    content, stored = path.read_bytes(), json.loads(path.read_bytes())
    whole = [run("show", Path(file).parent, "--json").json]
    for _ in range(MUTATIONS):
        mutant = {
            "bytes": lambda: changed_bytes(content, draw),
            "values": lambda: json.dumps(changed_value(stored, draw)).encode(errors="replace"),
            "text": lambda: changed_text(stored, draw),
        }[kind]()
        path.write_bytes(mutant)
        ran = run("show", Path(file).parent, "--json")
        if ran.code == 0:
            assert ran.json in whole
        else:
            refused(ran, 1, file)


@pytest.mark.parametrize("file", FILES)
def test_a_mutant_under_a_fresh_checksum_is_shown_or_one_line(run: Run, runs: Path, file: str) -> None:
    draw, path = random.Random(file), runs / file
    stored = json.loads(path.read_bytes())
    ends = set()
    for _ in range(MUTATIONS):
        path.write_text(json.dumps(sealed(changed_value(stored, draw))))
        for ran in commands(run, file):
            ends.add(ran.code)
            # Scans with failures end with 1 after they are shown.
            assert ran.out or refused(ran, ran.code, "")
    assert ends == {0, 1}


@pytest.mark.parametrize("kind", ["bytes", "values", "text"])
def test_mutated_published_results_give_what_was_computed_or_one_line(runs: Path, kind: str) -> None:
    draw, curve = random.Random(kind), load_run(runs / "scan")
    content = lines_of(curve).encode()
    rows, same = [json.loads(line) for line in content.splitlines()], curve_from(content, "hf://org/m")
    assert same.to_dict()["points"] == curve.to_dict()["points"]
    outcomes, said = {"same": 0, "refused": 0, "other": 0}, []
    for _ in range(3 * MUTATIONS):
        if kind == "bytes":
            mutant = changed_bytes(content, draw)
        elif kind == "text":
            place = draw.randrange(len(rows))
            lines = [json.dumps(row).encode() for row in rows]
            mutant = b"\n".join([*lines[:place], changed_text(rows[place], draw), *lines[place + 1 :]])
        else:
            changed = changed_value(rows, draw)
            mutant = "\n".join(json.dumps(row) for row in changed).encode()
        try:
            read = curve_from(mutant, "hf://org/m")
        except SourceError as error:
            said.append(str(error))
            outcomes["refused"] += 1
            continue
        outcomes["same" if read.to_dict() == same.to_dict() else "other"] += 1
    assert outcomes["other"] == 0
    assert outcomes["refused"] > outcomes["same"]
    assert all("\n" not in line and len(line) < 400 for line in said)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, which everybody may read, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        use_hub(monkeypatch, NOWHERE, folder / "home")
        monkeypatch.chdir(folder)
        yield folder
        if os.getuid() == 0:
            os.seteuid(0)
        monkeypatch.undo()
        for path in folder.rglob("*"):
            path.chmod(0o755)


def become_a_reader(folder: Path) -> None:
    """Makes this process one that may read what is in the folder and write none of it, root or not."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid() == 0:
        os.seteuid(65534)


def test_a_finished_run_in_a_read_only_folder_is_shown(run: Run, public: Path, runs: Path) -> None:
    assert runs == public
    expected = [run("show", name, "--json").json for name in ("scan", "single")]
    become_a_reader(public)
    shown = [run("show", name, "--json") for name in ("scan", "single")]
    compared = run("compare", "scan", "single", "--json")
    assert [each.json for each in shown] == expected
    assert (compared.code, compared.json["pictures"]) == (0, [])
    for ran in [*shown, compared]:
        assert "No picture is drawn: " in ran.err
        assert "cannot be written (Permission denied)." in ran.err


def test_the_command_of_a_finished_run_in_a_read_only_folder_shows_it(
    run: Run, public: Path, tiny: Path, text: Path
) -> None:
    shutil.copytree(tiny, "series/step1")
    shutil.copy(text, "text.jsonl")
    options = ["--dataset", "text.jsonl", *SMALL, "--num-processes", 1, "--json", "--output-dir"]
    commands = (["estimate", "series/step1", *options, "one"], ["scan", "series", *options, "all"])
    single, series = (run(*command).json for command in commands)
    become_a_reader(public)
    again, recalled = (run(*command) for command in commands)
    assert (again.code, again.json["llc"], again.json["stderr"]) == (0, single["llc"], single["stderr"])
    assert "cannot be written (Permission denied) and is left unchanged." in again.err
    assert (recalled.code, recalled.json["points"]) == (0, series["points"])


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_may_not_be_read_is_said_to_be_one(run: Run, public: Path, runs: Path, file: str) -> None:
    (runs / file).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    refused(run("show", Path(file).parent), 1, f"{file} cannot be read .Permission denied.")
