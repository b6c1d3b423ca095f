"""`hf_llc.susceptibilities`: how components answer to a change of the data, from the runs that moved them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_llc.errors import NotFoundError, SettingsError, listed
from hf_llc.measures.recorded import facts_of, noted, read_recorded, runs_in
from hf_llc.measures.susceptibility.estimate import Susceptibilities
from hf_llc.results.estimate import Estimate
from hf_llc.results.susceptibility import Susceptibility
from hf_llc.settings.bounds import shown

SHARED = ("model", "sha", "observable", "items_of", "loss_of", "n_beta", "gamma", "n", "prior")
"""Facts of a recording that must be those of the run that moves all weights."""
FULL = "all weights"


def susceptibilities(
    runs: Estimate | Path | str | Sequence[Estimate | Path | str], recording: str | None = None
) -> Susceptibility:
    """Susceptibilities of the components that the runs moved to the items that they recorded.

    One run must have moved all weights, each other one a component (`component=…`) or some parameters (`params=…`),
    with the same checkpoint, items, nβ and γ.

    Args:
        runs: runs with recorded losses (`keep="losses"`), their folders or results, or folders that contain such runs.
        recording: which of several recordings, by the name of its folder or its kind, `losses` or `token-losses`;
            None takes `losses`, or the only one.

    Raises:
        NotFoundError: there are no recorded losses, or no run that moved all weights, or none that moved a component.
        ResourceError: parts are damaged or missing.
        SettingsError: two runs moved the same component, or runs differ in what they are of; names it.
    """
    by_name: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    for folder in folders_of(runs):
        facts = facts_of(folder, recording)
        name = moved_by(facts)
        if name in by_name:
            raise SettingsError(f"{by_name[name][0]} and {folder} both moved {name}; name one of them.")
        by_name[name] = folder, facts
    if FULL not in by_name:
        raise NotFoundError(
            "Susceptibilities need a run that moved all weights beside those of components: run the same command "
            "without `component`, with the same `gamma`."
        )
    full_dir, full_facts = by_name.pop(FULL)
    if not by_name:
        raise NotFoundError(
            f"Susceptibilities need runs that moved a component beside {shown(full_dir)}: run the same command "
            "with `component`, such as `component=l0h0`."
        )
    _refuse_others(full_dir, full_facts, by_name)
    full = read_recorded(full_dir, recording)
    rows, cautions = Susceptibilities(full.draws, full.names), {FULL: full.caution}
    for name, (folder, _) in by_name.items():
        # One after the other: losses of tokens at the draws of one component are large already.
        one = read_recorded(folder, recording)
        cautions[name] = one.caution
        rows.add(name, one.draws, one.control)
        del one
    result = rows.result()
    of_components = [cautions[name] for name in result.components]
    return replace(
        result,
        items_are_tokens=full.is_of_tokens,
        gaps=full.gaps,
        quality=noted(result.quality, *of_components),
        qualities=tuple(
            noted(quality, caution) for quality, caution in zip(result.qualities, of_components, strict=True)
        ),
        total_quality=noted(result.total_quality, full.caution, *of_components),
    )


def moved_by(facts: Mapping[str, object]) -> str:
    """What a run moved: the name of its component, its patterns of parameters, or FULL."""
    params = facts.get("params")
    patterns = " ".join(map(str, params)) if isinstance(params, Sequence) else ""
    component = str(facts.get("component") or "")
    return FULL if component == "full" else component or patterns or FULL


def folders_of(runs: Estimate | Path | str | Sequence[Estimate | Path | str]) -> list[Path]:
    """The folders of all runs that these are or contain."""
    given = [runs] if isinstance(runs, Estimate | Path | str) else list(runs)
    return [folder for run in given for folder in _folders(run)]


def _folders(run: Estimate | Path | str) -> list[Path]:
    """The folder of a run, or those of the runs in it."""
    folder = Path(run.run_dir if isinstance(run, Estimate) else run)
    return runs_in(folder) or [folder]


def _refuse_others(
    full_dir: Path, full: Mapping[str, Any], components: Mapping[str, tuple[Path, Mapping[str, Any]]]
) -> None:
    for name, (folder, facts) in components.items():
        differing = [key for key in SHARED if facts.get(key) != full.get(key)]
        if differing:
            raise SettingsError(
                f"{folder}, which moved {name}, differs from {full_dir} in {listed(differing)}; run both "
                "with the same settings."
            )
