"""`hf_llc.influence`: Bayesian influence between the recorded items of a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hf_llc.errors import SettingsError
from hf_llc.measures.influence import estimate
from hf_llc.measures.recorded import RecordedLosses, noted, read_recorded
from hf_llc.results.estimate import Estimate
from hf_llc.results.influence import Influence
from hf_llc.settings.bounds import require, shown
from hf_llc.settings.files import read_text
from hf_llc.settings.recording import LOSSES, TOKEN_LOSSES

TOKEN = "token"
MOST_ITEMS = 1024
"""Items whose pairs are a million, which takes a minute."""
MOST_CLASSES = 100
"""Kinds of token that are told apart; the rest are one class."""
OTHERS = "(others)"
LARGEST_CLASSES = 2**26
"""Bytes of a file of classes."""


def influence(
    run: Estimate | Path | str, recording: str | None = None, by: str | Path | Sequence[str] | None = None
) -> Influence:
    """How the mean loss of each recorded item under the posterior answers to the weight of every other one.

    Args:
        run: a run with recorded losses (`keep="losses"`), its folder or its result.
        recording: which of several, by the name of its folder or its kind, `losses` or `token-losses`; None takes the
            tokens for `by="token"`, else those of items, or the only one.
        by: classes whose mean losses are taken in place of items: `token` for the kind of each recorded token, else the
            class of each item, as a list or as the lines of a file, in the order of the items' numbers, which is not
            that of the data where images or texts to classify are shuffled.

    Raises:
        NotFoundError: the run has no recorded losses. ResourceError: parts of them are damaged or missing.
        SettingsError: there are more than 1024 items and no classes, or not a class for each item.
    """
    recorded = read_recorded(run, recording, kind_for(by))
    if by is None:
        names = recorded.names
        require(
            len(names) <= MOST_ITEMS,
            f"{recorded.run_dir} has {len(names):,} recorded items; name classes of them with `by`, or record fewer "
            f"than {MOST_ITEMS:,} (`probe`, `max_sequences`).",
        )
        return _noted(estimate.influence(recorded.draws, names), recorded)
    classes = _classes(recorded, by)
    names = list(dict.fromkeys(classes))
    require(len(names) > 1, f"by must name at least two classes, got {len(names)}.")
    require(len(names) <= MOST_ITEMS, f"by must name at most {MOST_ITEMS} classes, got {len(names)}.")
    places = {name: place for place, name in enumerate(names)}
    draws = recorded.draws.classes([places[each] for each in classes])
    return _noted(estimate.influence(draws, names), recorded)


def _noted(result: Influence, recorded: RecordedLosses) -> Influence:
    return replace(
        result,
        quality=noted(result.quality, recorded.caution),
        kernel_quality=noted(result.kernel_quality, recorded.caution),
    )


def kind_for(by: str | Path | Sequence[str] | None) -> str:
    """Which kind of recording these classes are of, if nothing else is said."""
    return TOKEN_LOSSES if by == TOKEN else LOSSES


def _classes(recorded: RecordedLosses, by: str | Path | Sequence[str]) -> list[str]:
    count = len(recorded.places)
    if by == TOKEN:
        require(recorded.is_of_tokens, f"by=token needs recorded token-losses, got {recorded.name}.")
        kept = {label for label, _ in Counter(recorded.labels).most_common(MOST_CLASSES)}
        return [label if label in kept else OTHERS for label in recorded.labels]
    if isinstance(by, str | Path):
        named = read_text(Path(by), "`by`", LARGEST_CLASSES).splitlines()
        source = str(by)
    else:
        named, source = [str(each) for each in by], "by"
    if len(named) != count:
        raise SettingsError(f"{shown(source)} must name a class for each of the {count} items, got {len(named)}.")
    return named
