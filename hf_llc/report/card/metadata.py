"""What hf-llc says in the front matter of a card."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_llc.report.card import escaping as text
from hf_llc.report.card.ownership import SOURCE, Entries
from hf_llc.results.curve import Point
from hf_llc.results.estimate import SCHEMA, Estimate
from hf_llc.settings.option import settings_in
from hf_llc.settings.posterior import CHAINS_ONLY, as_in_earlier
from hf_llc.settings.sampler import SamplerSettings

LOCAL = "local"
"""The type of a text that is on no Hub, where `model-index` wants an id (as the builders of `datasets` are named)."""
RESULTS, SETTINGS, PICTURE, VECTORS = "llc/results.jsonl", "llc/settings.yaml", "llc/curve.png", "llc/curve.svg"
COMPONENT_ROWS, COMPONENT_PICTURE = "llc/components.jsonl", "llc/components.png"
"""Where everything but the card itself lies in a repository."""
CONFIG = "llc"
HUB_TASKS = {"regression": "tabular-regression"}
"""What the Hub calls tasks that have another name here."""


def model_entries(name: str, headline: Sequence[Point], *, url: str = "", picture: bool = True) -> Entries:
    """What belongs into the front matter of a model's card.

    Args:
        url: the address of the results, for whoever wants to check a number; "" leaves the source out.
        picture: there is one.
    """
    return Entries(name=name, results=[_result(point, url) for point in headline], key=_key(picture))


def hub_task(estimate: Estimate) -> str:
    """The Hub's name of the task of an estimate."""
    return HUB_TASKS.get(estimate.dataset.task, estimate.dataset.task)


def dataset_entries(name: str, *, picture: bool = True) -> Entries:
    """What belongs into the front matter of the card of a results repository, so that its viewer opens the curve."""
    config = {"config_name": CONFIG, "data_files": RESULTS}
    return Entries(name=name, configs=[config], key=_key(picture))


def _result(point: Point, url: str) -> dict[str, Any]:
    """One entry of `model-index`, results: what was measured on which text, and everything the number depends on.

    Value and error have the digits that the error leaves; those of the results file are whole.
    """
    estimate = point.estimate
    assert estimate is not None
    value, error = text.rounded(estimate.llc, estimate.stderr)
    dataset = {
        "type": LOCAL if text.is_local_text(estimate) else estimate.dataset.id,
        "name": text.dataset_name(estimate),
        "config": estimate.dataset.config,
        "split": estimate.dataset.split,
        "revision": estimate.dataset.revision,
    }
    unpublished = {each.name for each in settings_in(SamplerSettings) if not each.option.published}
    left_out = {*unpublished, *as_in_earlier(estimate.settings.to_dict())}
    left_out |= {*CHAINS_ONLY} if estimate.settings.by_draws else set()
    settings = {name: value for name, value in estimate.settings.to_dict().items() if name not in left_out}
    arguments = {
        "model_revision": point.revision,
        "model_sha": point.sha or estimate.sha,
        "base_model": estimate.base_model,
        "base_sha": estimate.base_sha,
        "step": point.step,
        "stderr": error,
        "verdict": str(estimate.verdict),
        **settings,
        "token_fingerprint": estimate.dataset.fingerprint,
        "loss_on": estimate.dataset.loss_on,
        "bos": None if estimate.dataset.bos == "auto" else estimate.dataset.bos,
        "hf_llc_version": estimate.versions.get("hf-llc", "unknown"),
    }
    metric = {
        "type": "llc",
        "name": f"Local learning coefficient ({point.revision})",
        "value": value,
        "args": _known(arguments),
    }
    result = {
        "task": {"type": hub_task(estimate), "name": hub_task(estimate).replace("-", " ").title()},
        "dataset": _known(dataset),
        "metrics": [metric],
    }
    return {**result, "source": {"name": SOURCE, "url": url}} if url else result


def _key(picture: bool) -> dict[str, Any]:
    key = {"schema": SCHEMA, "results": RESULTS, "settings": SETTINGS}
    return {**key, "picture": PICTURE} if picture else key


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
