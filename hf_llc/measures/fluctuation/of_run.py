"""`hf_llc.fluctuation` and `hf_llc.loss_gain`: from the recorded losses of a run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hf_llc.errors import SettingsError
from hf_llc.measures.fluctuation import estimate
from hf_llc.measures.recorded import RecordedLosses, joined, read_recorded
from hf_llc.results.estimate import Estimate
from hf_llc.results.fluctuation import Fluctuation, LossGain


def fluctuation(run: Estimate | Path | str, recording: str | None = None) -> Fluctuation:
    """The singular fluctuation ν(β) and WAIC of the recorded items, with their errors.

    Args:
        run: a run with recorded losses of its own data (`keep="losses"`), its folder or its result.
        recording: which of several, by the name of its folder or its kind, `losses` or `token-losses`; None takes
            `losses`, or the only one.

    Raises:
        NotFoundError: the run has no recorded losses. ResourceError: parts of them are damaged or missing.
        SettingsError: the recorded losses are those of tokens, or of a probe.
    """
    recorded = read_recorded(run, recording)
    _refuse_tokens(recorded)
    if recorded.facts["items_of"] != recorded.facts["loss_of"]:
        raise SettingsError(
            f"{recorded.name} are losses of {recorded.facts['items_of']['dataset']}, and WAIC is of the data that the "
            "posterior is made of: record these too (`keep=losses` without `probe`)."
        )
    result = estimate.fluctuation(recorded.draws)
    return replace(result, warning=joined(result.warning, recorded.caution), unit=str(recorded.facts["unit"]))


def loss_gain(run: Estimate | Path | str, recording: str | None = None, items: Sequence[int] | None = None) -> LossGain:
    """nβ times the mean rise of recorded items' losses under the posterior of all data.

    It is not the learning coefficient of those items: that is an estimate with them as its data.

    Args:
        run, recording: as in `fluctuation`, of a probe too. items: numbers of the items, from 0; None takes all.

    Raises:
        NotFoundError, ResourceError: see `fluctuation`. SettingsError: there is no such item.
    """
    recorded = read_recorded(run, recording)
    try:
        result = estimate.loss_gain(recorded.draws, items)
    except ValueError as error:
        raise SettingsError(f"{error}.") from error
    return replace(result, warning=joined(result.warning, recorded.caution))


def _refuse_tokens(recorded: RecordedLosses) -> None:
    if recorded.is_of_tokens:
        raise SettingsError("WAIC needs the losses of items that are independent, and tokens are not: `keep=losses`.")
