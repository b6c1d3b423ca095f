"""Finished runs read back as curves: what is left on this disk, and what was published on the Hub."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hf_llc.errors import NotFoundError, SettingsError, SourceError, listed
from hf_llc.hub import client
from hf_llc.hub import download as downloads
from hf_llc.hub.client import RemoteFile
from hf_llc.hub.errors import Kind, Tell, endpoint
from hf_llc.hub.listings import listing
from hf_llc.hub.reference import Reference, is_remote, parse_dataset, parse_model
from hf_llc.report.card.merge import results_path
from hf_llc.report.card.metadata import RESULTS, SETTINGS
from hf_llc.report.card.yaml_tree import CardError
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import SCHEMA, ChainTrace, Estimate
from hf_llc.results.jsonl import curve_from
from hf_llc.settings.bounds import checked_arguments, shown
from hf_llc.settings.strict_json import DamagedError, parsed, unsealed
from hf_llc.settings.yaml_file import read_mapping

SCAN, ESTIMATE, TRACES, CARD = "scan.json", "estimate.json", "traces.json", "README.md"
ASKED = "asked.json"
"""What a scan was asked for, which its folder keeps for the next call."""
AGAIN = "Delete it and run the same command again: finished work is kept."
LARGEST = 2**28
"""Bytes of the largest file of results that is read; a checkpoint takes about five thousand."""
LARGEST_SETTINGS = 2**18
"""Bytes of the largest settings file that is fetched for its command."""
KNOWN_COMMANDS = ("hf-llc demo",)
"""Commands that a run may name as its own; every other one is built from its settings."""


@checked_arguments
def load(run: str | Path, tell: Tell = lambda _: None) -> Curve:
    """The curve of a run: of a folder on this disk, or published at `hf://org/name` or `hf://datasets/org/name`.

    Raises:
        SettingsError: `run` is no string or path.
        NotFoundError, AccessError, OfflineError: there is none, or it cannot be read. SourceError: it is damaged.
    """
    if not is_remote(str(run)):
        return load_run(Path(run))
    place = _Published.find(str(run), tell)
    path = RESULTS
    if place.has(CARD):
        path = _path_in(place.content(CARD)) or RESULTS
    if not place.has(path):
        raise NotFoundError(f"{run} has no published results ({path}); make them with hf-llc publish.")
    return curve_from(place.content(path), str(run))


def own_command(run: str | Path, tell: Tell = lambda _: None) -> str | None:
    """The command of KNOWN_COMMANDS that made a run or what was published of it; None if it names none of them.

    Whatever else stands there may be anybody's, and a card shows commands for people to run.

    Raises:
        HfLlcError: see `load`.
    """
    if not is_remote(str(run)):
        path = Path(run) / SETTINGS
    else:
        place = _Published.find(str(run), tell)
        small = place.has(SETTINGS) and place.files[SETTINGS].size <= LARGEST_SETTINGS
        path = place.path(SETTINGS) if small else Path()
    if not path.is_file():
        return None
    try:
        command = read_mapping(path).get("command")
    except SettingsError:
        return None  # nothing else in it is looked at
    return command if command in KNOWN_COMMANDS else None


@dataclass(frozen=True)
class _Published:
    """A commit of a repository on the Hub."""

    repo_id: str
    kind: Kind
    sha: str
    files: Mapping[str, RemoteFile]
    tell: Tell

    @classmethod
    def find(cls, run: str, tell: Tell) -> Self:
        reference, kind = published_at(run)
        sha = client.resolve(reference.id, reference.revision, kind, tell)
        listed = {file.path: file for file in listing(reference.id, sha, tell, kind).files}
        return cls(reference.id, kind, sha, listed, tell)

    def has(self, path: str) -> bool:
        return path in self.files

    def content(self, path: str) -> bytes:
        """The file's content.

        Raises:
            SourceError: if it is larger than LARGEST.
        """
        if self.files[path].size > LARGEST:
            raise SourceError(f"{path} of {self.repo_id} has {self.files[path].size} bytes, too many for results.")
        return self.path(path).read_bytes()

    def path(self, path: str) -> Path:
        """The file, downloaded."""
        return downloads.download(self.repo_id, self.sha, [self.files[path]], self.tell, self.kind) / path


def published_at(run: str) -> tuple[Reference, Kind]:
    """The repository that a URI or web address names, and its kind.

    Raises:
        SettingsError: it is none of the Hub.
    """
    if "datasets" in run.partition("://")[2].split("/")[:-2]:
        return parse_dataset(run, None, endpoint()), "dataset"
    return parse_model(run, None, endpoint()), "model"


def folder_of(run: str | Path) -> Path:
    """The folder of a run; for a published one, that in which its pictures are drawn."""
    if not is_remote(str(run)):
        return Path(run)
    reference, kind = published_at(str(run))
    return Path("hf-llc-runs") / f"{kind}s--{reference.id.replace('/', '__')}"


def load_run(folder: Path) -> Curve:
    """The curve of a scan's folder, or that of one point of an estimate's.

    Raises:
        NotFoundError: the folder holds neither. SourceError: the file is damaged or of another schema.
    """
    for name in (SCAN, ESTIMATE):
        path = folder / name
        try:
            present = path.is_file()
        except OSError as error:
            raise SourceError(f"{shown(folder)} cannot be read ({error.strerror}).") from error
        if present:
            return _read(path)
    raise NotFoundError(
        f"{folder} holds no finished run (no {SCAN} or {ESTIMATE}){_below(folder)}. Name the folder that `hf-llc scan` "
        "or `hf-llc estimate` printed (`run_dir`), or hf://org/name for what was published."
    )


def _below(folder: Path) -> str:
    """The runs below a folder that is none itself, for a message; empty if there are none."""
    runs: list[str] = []
    with suppress(OSError):
        for pattern in (f"*/{SCAN}", f"*/{ESTIMATE}", f"*/*/{ESTIMATE}"):
            runs += sorted(str(path.parent) for path in folder.glob(pattern))
    return f"; there is {listed(runs)}" if runs else ""


def traces_in(folder: Path) -> list[ChainTrace]:
    """The chains or groups of draws that an estimate left in its folder; none where they are missing or damaged."""
    try:
        payload = unsealed(parsed(_content(folder / TRACES))).get("payload")
        return [ChainTrace.from_dict(trace) for trace in payload["traces"]] if isinstance(payload, dict) else []
    except (SourceError, DamagedError, KeyError, TypeError, ValueError):
        return []  # a version of its own time left them, or none did


def asked_for(folder: Path) -> Mapping[str, Any] | None:
    """The settings of data and sampler that a scan was asked for, by name; None where they are missing or damaged."""
    try:
        asked = unsealed(parsed(_content(folder / ASKED)))["payload"]
        return {**asked["data"], **asked["sampler"]}
    except (SourceError, DamagedError, KeyError, TypeError):
        return None


def _path_in(card: bytes) -> str | None:
    try:
        return results_path(card)
    except CardError:
        return None  # somebody else's card need not be in order for the results to be read


def _read(path: Path) -> Curve:
    try:
        stored = parsed(_content(path))
        if path.name == ESTIMATE:
            stored = unsealed(stored).get("payload")
        if isinstance(stored, dict) and stored.get("schema", SCHEMA) != SCHEMA:
            raise SourceError(f"{path} has schema {shown(stored['schema'])}; this version reads {SCHEMA}.")
        return Curve.from_dict(stored) if path.name == SCAN else Curve.of_estimate(Estimate.from_dict(stored))
    except DamagedError as error:
        raise SourceError(f"{path} is damaged or was not written by hf-llc: {error}. {AGAIN}") from error


def _content(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise SourceError(f"{path} has {size} bytes, too many for results.")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}).") from error
