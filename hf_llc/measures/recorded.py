"""Reads what a run recorded at its draws."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_llc.errors import NotFoundError, ResourceError
from hf_llc.execution.recording import ANCHORS, LOG_PRIOR_WEIGHTS, LOG_WEIGHTS, LOSS_RISES, RECORDED, VALUES, tensors_of
from hf_llc.execution.store import INPUTS, RunStore
from hf_llc.measures.llc.chains.parts import OPEN
from hf_llc.results.estimate import Estimate, Verdict
from hf_llc.results.matrix import MatrixQuality, MatrixVerdict, excerpt
from hf_llc.sampling.loss_draws import LossDraws, is_finite
from hf_llc.settings.recording import LOSSES

ESTIMATE = "estimate"
"""Name of the part with the number of a run."""
PART = re.compile(r"[0-9]+(-[0-9]+)?")
"""Names of parts with draws."""
NOT_OF_THE_POSTERIOR = (Verdict.NOT_EQUILIBRATED, Verdict.STEP_TOO_LARGE, Verdict.HEATED)
"""What is said of chains that do not sample the posterior, such as those that have not forgotten where they began."""
FEWEST = 8
"""Draws without which nothing is said."""


@dataclass(frozen=True, kw_only=True)
class RecordedLosses:
    """The losses of items at the draws of a run.

    Attributes:
        name: of the recording: its observable, and the probe if there was one.
        draws: the losses. control: at draws of the localizing prior alone, nβ = 0; None from chains.
        labels: a text for each item. places: of each the number of the item, and that of the token in it if it is one.
        facts: what is said of them: model, sha, step, item, unit, data, parameters that move.
        left_out: pairs of draws, or chains, whose losses were not finite.
        verdict: of the number that the chains gave; None if they gave none, and where draws are independent, whose
            weights are judged here.
    """

    name: str
    run_dir: Path
    draws: LossDraws
    control: LossDraws | None
    labels: Sequence[str]
    places: Sequence[tuple[int, int | None]]
    facts: Mapping[str, Any]
    left_out: int
    verdict: str | None = None

    @property
    def caution(self) -> str | None:
        """Why the draws are not all of the posterior, in words; None if nothing says so."""
        other = None
        if self.verdict in NOT_OF_THE_POSTERIOR:
            other = f"the chains are {self.verdict}, and their draws not those of the posterior"
        return joined(self.without, other)

    @property
    def without(self) -> str | None:
        """What is left out, in words; None if nothing is."""
        if not self.left_out:
            return None
        what = "chains" if self.draws.is_chains else "pairs of draws"
        total = self.left_out + self.draws.loss_rises.shape[0]
        return f"{self.left_out} of {total} {what}, in which a loss is inf or NaN, are left out"

    @property
    def names(self) -> list[str]:
        """What the items are called: tokens whole, as long texts their beginning."""
        return list(self.labels) if self.is_of_tokens else [excerpt(label) for label in self.labels]

    @property
    def is_of_tokens(self) -> bool:
        """True if an item is a token."""
        return bool(self.places) and self.places[0][1] is not None

    @property
    def gaps(self) -> tuple[int, ...]:
        """Places of the tokens before which others stand in the text that nothing predicts; none if items are whole."""
        if not self.is_of_tokens:
            return ()
        before = [(-1, 0), *self.places]
        return tuple(
            place
            for place, ((item, token), (previous, last)) in enumerate(zip(self.places, before, strict=False))
            if token is not None and last is not None and token > (last + 1 if item == previous else 0)
        )


def recordings_in(run: Path) -> dict[str, Path]:
    """The folders of a run's recordings by their names; of chains as long as asked for, if there are others too."""
    if not (run / f"{INPUTS}.json").exists():
        return {}
    return {
        path.parent.name: path.parent
        for prefix in (OPEN, "")
        for path in sorted(run.glob(f"{prefix}{RECORDED}/*/{ANCHORS}.json"))
    }


def runs_in(folder: Path) -> list[Path]:
    """The folder itself if it is that of a run with recordings, else those of such runs below it."""
    if recordings_in(folder):
        return [folder]
    present = {path.parents[2] for path in folder.glob(f"**/{RECORDED}/*/{ANCHORS}.json")}
    return sorted({each if (each / f"{INPUTS}.json").exists() else each.parent for each in present})


def place_of(run: Estimate | Path | str, recording: str | None = None, kind: str = LOSSES) -> tuple[Path, Path]:
    """The folder of a run, and that of a recording of it.

    Args:
        run: its folder, or its result.
        recording: which, by the name of its folder or its kind, `losses` or `token-losses`; None takes that of `kind`,
            or the only one.

    Raises:
        NotFoundError: the run has none, or none of that name; or the folder is that of several runs.
    """
    folder = Path(run.run_dir if isinstance(run, Estimate) else run)
    present = recordings_in(folder)
    if not present:
        if runs := runs_in(folder):
            names = ", ".join(str(each.relative_to(folder)) for each in runs[:8])
            raise NotFoundError(f"{folder} contains other runs: name one of them, such as {folder}/{names}.")
        what = "has no recorded losses" if folder.is_dir() else "is not there"
        raise NotFoundError(f"{folder} {what}: run its command again with `keep=losses` (or a `probe`).")
    return folder, present[_chosen(folder, list(present), recording, kind)]


def _chosen(folder: Path, present: Sequence[str], recording: str | None, kind: str) -> str:
    """The recording of the main data if there is one of this kind, else the only one of a probe or at all."""
    wanted = recording or kind
    if wanted in present:
        return wanted
    matching = [name for name in present if name.startswith(f"{wanted}-")]
    if recording is not None and not matching:
        raise NotFoundError(f"recording must be one of {', '.join(present)}, got {recording}.")
    matching = matching or list(present)
    if len(matching) > 1:
        raise NotFoundError(f"{folder} has several recordings: name one with `recording`, {', '.join(matching)}.")
    return matching[0]


def facts_of(run: Estimate | Path | str, recording: str | None = None, kind: str = LOSSES) -> Mapping[str, Any]:
    """What is said of the recorded losses of a run, which are not read themselves; see `read_recorded`."""
    return _opened(*place_of(run, recording, kind))[1]


def _opened(folder: Path, place: Path) -> tuple[RunStore, Mapping[str, Any], str]:
    """The run, the facts of its recording, and the beginning of the names of its parts."""
    store = RunStore(folder, lambda message: None)
    prefix = place.relative_to(folder).as_posix()
    facts = store.peek(f"{prefix}/{ANCHORS}")
    if facts is None:
        raise ResourceError(f"{place / ANCHORS}.json is damaged; run the command of that run again.")
    return store, facts, prefix


def read_recorded(run: Estimate | Path | str, recording: str | None = None, kind: str = LOSSES) -> RecordedLosses:
    """The recorded losses of a run.

    Args:
        run, recording, kind: as in `place_of`.

    Raises:
        NotFoundError: the run has none, or none of that name. ResourceError: parts of it are damaged or missing.
    """
    folder, place = place_of(run, recording, kind)
    store, facts, prefix = _opened(folder, place)
    (anchors,) = tensors_of(store, f"{prefix}/{ANCHORS}", VALUES)
    chains = _parts(store, f"{prefix}/chains")
    common = {"n_beta": facts["n_beta"], "gamma": facts["gamma"], "n": facts["n"], "anchors": anchors.double()}
    control, verdict = None, None
    if chains:
        draws, left_out = _of_chains(store, chains, common)
        verdict = (store.peek(ESTIMATE) or {}).get("verdict")
    else:
        draws, control, left_out = _of_pairs(store, _parts(store, f"{prefix}/draws"), common, place)
    places = [(int(item), None if token is None else int(token)) for item, token in facts["positions"]]
    return RecordedLosses(
        name=place.name,
        run_dir=folder,
        draws=draws,
        control=control,
        labels=facts["labels"] or [_numbered(facts["item"], *each) for each in places],
        places=places,
        facts=facts,
        left_out=left_out,
        verdict=verdict,
    )


def joined(*sentences: str | None) -> str | None:
    """The sentences that are not None, as one text; None if there are none."""
    return "; ".join(sentence for sentence in sentences if sentence is not None) or None


def noted(quality: MatrixQuality, *cautions: str | None) -> MatrixQuality:
    """The quality, whose reason also says why draws are not all of the posterior: no entry is resolved then."""
    without = joined(*dict.fromkeys(cautions))
    if without is None:
        return quality
    is_resolved = quality.verdict is MatrixVerdict.RESOLVED
    verdict = MatrixVerdict.PARTLY_RESOLVED if is_resolved else quality.verdict
    return replace(quality, verdict=verdict, reason=f"{without}; {quality.reason}")


def _numbered(item: str, number: int, token: int | None) -> str:
    return f"{item} {number}" if token is None else f"{item} {number}, token {token}"


def _parts(store: RunStore, folder: str) -> list[str]:
    """Names of the parts that are there: of each number the whole one, or the longest of those with fewer draws."""
    by_number: dict[int, str] = {}
    paths = (path for path in (store.folder / folder).glob("*.json") if PART.fullmatch(path.stem))
    for path in sorted(paths, key=_number_and_count):
        by_number[_number_and_count(path)[0]] = f"{folder}/{path.stem}"
    for number, (present, name) in enumerate(sorted(by_number.items())):
        if number != present:
            raise ResourceError(
                f"{store.folder / folder} has no part {number}, only later ones; run the command of that run again."
            )
        if store.peek(name) is None:
            raise ResourceError(f"{store.path(name)} is damaged; run the command of that run again.")
    return [by_number[number] for number in sorted(by_number)]


def _number_and_count(path: Path) -> tuple[int, float]:
    """The number of a part, and how many pairs it has, inf if all."""
    number, _, count = path.stem.partition("-")
    return int(number), float(count or "inf")


def _of_chains(store: RunStore, names: Sequence[str], common: Mapping[str, Any]) -> tuple[LossDraws, int]:
    rises, losses, left_out = [], [], 0
    for name in names:
        values, loss_rises = tensors_of(store, name, VALUES, LOSS_RISES)
        if len(values) and is_finite(values) and is_finite(loss_rises):
            rises.append(values)
            losses.append(loss_rises.double())
        else:
            left_out += 1
    _require(sum(map(len, rises)), store.folder, left_out)
    draws = LossDraws(rises=_stacked(rises), loss_rises=torch.stack(losses), log_weights=None, **common)
    return draws, left_out


def _of_pairs(
    store: RunStore, names: Sequence[str], common: Mapping[str, Any], place: Path
) -> tuple[LossDraws, LossDraws, int]:
    wanted = (LOSS_RISES, LOG_WEIGHTS, LOG_PRIOR_WEIGHTS)
    rises, others, left_out = [], [], 0
    for name in names:
        values, *rest = (each.unflatten(0, (-1, 2)) for each in tensors_of(store, name, VALUES, *wanted))
        finite = torch.isfinite(values).all(dim=2).all(dim=1) & torch.isfinite(rest[1]).all(dim=1)
        rises += [*values[finite]]
        others.append([each[finite] for each in rest])
        left_out += int((~finite).sum())
    _require(2 * len(rises), place, left_out)
    loss_rises, weights, prior_weights = (torch.cat(each) for each in zip(*others, strict=True))
    draws = LossDraws(rises=_stacked(rises), loss_rises=loss_rises, log_weights=weights, **common)
    return draws, replace(draws, log_weights=prior_weights, n_beta=0.0), left_out


def _stacked(rises: list[Tensor]) -> Tensor:
    """These in 32 bits, one behind the other; each is let go of once it is copied, for all fill the memory."""
    stacked = torch.empty(len(rises), *rises[0].shape, dtype=torch.float32)
    for place in range(len(rises)):
        stacked[place] = rises[place]
        rises[place] = stacked[:0]
    return stacked


def _require(draws: int, place: Path, left_out: int = 0) -> None:
    if draws < FEWEST and left_out:
        raise ResourceError(
            f"{place} has {draws} recorded draws with finite losses, and {FEWEST} are needed; in the others a loss is "
            "inf or NaN: raise gamma, or lower the step size of chains."
        )
    if draws < FEWEST:
        raise ResourceError(
            f"{place} has {draws} recorded draws, and {FEWEST} are needed: run its command again to the end."
        )
