"""What hf-llc says in the front matter of a card."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_llc.adapters import card_text as text
from hf_llc.adapters.card_entries import Entries
from hf_llc.curve import Point
from hf_llc.results import SCHEMA

SOURCE = {"name": "hf-llc", "url": "https://arxiv.org/abs/2308.12108"}
RESULTS, SETTINGS, PICTURE, VECTORS = "llc/results.jsonl", "llc/settings.yaml", "llc/curve.png", "llc/curve.svg"
"""Where everything but the card itself lies in a repository."""
CONFIG = "llc"
NOT_PUBLISHED = {"micro_batch_size", "threads"}
"""Settings that say how a machine was used and change no more than the rounding."""


def model_entries(name: str, headline: Sequence[Point]) -> Entries:
    """What belongs into the front matter of a model's card."""
    return Entries(name=name, results=[_result(point) for point in headline], key=_key())


def dataset_entries(name: str) -> Entries:
    """What belongs into the front matter of the card of a results repository, so that its viewer opens the curve."""
    config = {"config_name": CONFIG, "data_files": RESULTS}
    return Entries(name=name, configs=[config], key=_key())


def _result(point: Point) -> dict[str, Any]:
    """One entry of `model-index`, results: what was measured on which text, and everything the number depends on."""
    found = point.estimate
    assert found is not None
    dataset = {
        "type": text.dataset_name(found),
        "name": text.dataset_name(found),
        "config": found.dataset.config,
        "split": found.dataset.split,
        "revision": found.dataset.revision,
    }
    settings = {name: value for name, value in found.settings.to_dict().items() if name not in NOT_PUBLISHED}
    arguments = {
        "model_revision": point.revision,
        "model_sha": point.sha or found.sha,
        "step": point.step,
        "stderr": found.stderr,
        "verdict": str(found.verdict),
        **settings,
        "token_fingerprint": found.dataset.fingerprint,
        "hf_llc_version": found.versions.get("hf-llc", "unknown"),
    }
    metric = {
        "type": "llc",
        "name": f"Local learning coefficient ({point.revision})",
        "value": found.llc,
        "args": _known(arguments),
    }
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": _known(dataset),
        "metrics": [metric],
        "source": SOURCE,
    }


def _key() -> dict[str, Any]:
    return {"schema": SCHEMA, "results": RESULTS, "settings": SETTINGS, "picture": PICTURE}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
