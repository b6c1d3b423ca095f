"""From what a user asks for to a plan: checkpoint and text found, downloaded and pinned, and the folder fixed."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.execution import devices, machine
from hf_llc.execution.plan import Plan
from hf_llc.report.component_files import refuse_components
from hf_llc.results.progress import Observer
from hf_llc.sampling.gradients import check_gradient
from hf_llc.sampling.randomness import check_batches
from hf_llc.sampling.samplers import check_sampler
from hf_llc.settings.bounds import require
from hf_llc.settings.component import require_one
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.overrides import requested
from hf_llc.settings.posterior import IMPORTANCE
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.choose import find_items
from hf_llc.tasks.own_module import handed_over

NO_TEXT = "Settings of text, such as max_sequences, do not apply to items in memory; pass fewer items."
NO_PROBE = "probe must be left out for a module in memory; keep=losses records the items that are handed over."


def plan(
    model: ModelSettings,
    data: DataSettings,
    sampler: SamplerSettings,
    *,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
) -> Plan:
    """The checkpoint and text found, downloaded and pinned; nothing is sampled yet.

    Args:
        output_dir: where the run is kept; None means `hf-llc-runs/<model>/<sha>/<key>` under the working directory.
        device: `cpu`, `cuda` or `mps`; None takes the best there is.

    Raises:
        HfLlcError: the model or text cannot be read or used, or the settings do not fit them.
    """
    started = time.time()
    observer = observer or Observer()
    if output_dir is not None:
        refuse_components(output_dir)
    kind = checked_device(sampler, device)
    tell_of_no_use(sampler, observer)
    with observer.part("loading"):
        source = find_model(model, tell=observer.tell)
    with observer.part("data"):
        corpus = find_items(data, source, tell=observer.tell)
        probe = find_probe(data, corpus, sampler, source, observer=observer)
    new_plan = replace(plan_for(source, corpus, sampler, kind, started), probe=probe)
    folder = output_dir or Path("hf-llc-runs") / source.label / source.short_sha / new_plan.key
    return replace(new_plan, run_dir=folder.resolve())


@contextmanager
def plan_in_memory(
    module: Any,
    items: Any,
    losses: Any,
    sampler: SamplerSettings | str | None,
    *,
    function: str,
    settings: Any,
    overrides: Mapping[str, Any],
    output_dir: Path | None,
    device: str | None,
    observer: Observer,
) -> Iterator[Plan]:
    """The plan of a module and a loss of a user's own, which can be computed while the block runs.

    Args:
        sampler, function, settings, overrides: as of `overrides.requested`.

    Raises:
        SettingsError: an argument makes no sense, or settings of text are given. UnusableError: the loss fails.
    """
    asked_data, asked_sampler = requested(DataSettings(), sampler, settings, overrides, function)
    if asked_data != DataSettings():
        raise SettingsError(NO_TEXT)
    require(asked_sampler.probe is None, NO_PROBE)
    kind = checked_device(asked_sampler, device)
    tell_of_no_use(asked_sampler, observer)
    with handed_over(module, items, losses) as (source, corpus):
        own = plan_for(source, corpus, asked_sampler, kind)
        folder = output_dir or Path("hf-llc-runs") / source.label / source.short_sha / own.key
        yield replace(own, run_dir=folder.resolve())


def find_probe(
    data: DataSettings,
    corpus: Corpus,
    sampler: SamplerSettings,
    source: ModelSource,
    *,
    tokenizer: ModelSource | None = None,
    observer: Observer,
) -> Corpus | None:
    """The items of `sampler.probe`, read as the main data are; None where none was named.

    Args:
        corpus: the main items, whose context length they have.

    Raises:
        HfLlcError: see `find_items`.
    """
    if sampler.probe is None:
        return None
    length = corpus.context_length if corpus.context_length > 1 and corpus.loss_on is None else data.context_length
    named = replace(
        data,
        dataset=sampler.probe,
        config=None,
        revision=None,
        max_sequences=sampler.probe_items,
        context_length=length,
    )
    try:
        return find_items(named, source, tokenizer=tokenizer, tell=observer.tell)
    except UnusableError as error:
        message = str(error).replace("`max_sequences`", "`probe_items`")
        length_of = " Texts of a probe are cut to the context length of the data." if corpus.context_length > 1 else ""
        raise UnusableError(f"probe cannot be used: {message}{length_of}") from error


def tell_of_no_use(sampler: SamplerSettings, observer: Observer) -> None:
    """Names the settings that were given and that the sampler has no use for, and what no time ends."""
    if names := sampler.without_use:
        verb = "is" if len(names) == 1 else "are"
        observer.tell(f"`sampler={sampler.sampler}` runs no chains: {', '.join(names)} {verb} ignored.")
    if sampler.budget_seconds is not None and not (sampler.by_draws or sampler.tries_draws or sampler.grows):
        observer.tell(
            f"`budget_seconds` does not stop {sampler.chains} chains of {sampler.chain_draws} draws, since "
            "their number was given; leave out `chains` to run as many as there is time for."
        )
    if sampler.budget_seconds is not None and sampler.observables and (sampler.by_draws or sampler.tries_draws):
        observer.tell(
            f"`budget_seconds` does not stop the {sampler.recorded_draws} draws that are recorded beside λ̂; lower "
            "`recorded_draws` if they take too long."
        )


def checked_device(sampler: SamplerSettings, device: str | None) -> str:
    """The kind of device to use.

    Raises:
        SettingsError: there is no such sampler, gradient or device, or the device has no such dtype.
    """
    require_one(sampler.component, "hf_llc.estimate_components or hf_llc.scan_components")
    check_sampler(sampler.sampler, [IMPORTANCE])
    check_gradient(sampler.gradient)
    check_batches(sampler.batches)
    kind = devices.device_kind(device)
    if sampler.dtype == "bfloat16" and not devices.computes_bfloat16(kind):
        raise SettingsError("dtype must be float32 on this GPU, got bfloat16, which needs Ampere or later.")
    return kind


def plan_for(
    source: ModelSource, corpus: Corpus, sampler: SamplerSettings, kind: str, started: float | None = None
) -> Plan:
    """The plan for a checkpoint and a text that are on this disk; it has no folder yet.

    Args:
        started: seconds since the epoch when the time began that `sampler.budget_seconds` gives; None is now.

    Raises:
        SettingsError: the batches are larger than the text, or the weights cannot be spread over devices.
    """
    if sampler.devices_per_chain > 1 and source.gguf_file is not None:
        raise SettingsError(
            f"{source.id} is a GGUF file, which transformers cannot spread over devices; leave out "
            "`devices_per_chain`, or name the model that it was made from."
        )
    if sampler.devices_per_chain > 1 and source.adapter:
        raise SettingsError(
            f"{source.id} is an adapter, which cannot be spread over devices; leave out `devices_per_chain`, or merge "
            "it into its base (`merge_and_unload` of peft)."
        )
    if sampler.by_draws and 0 in {sampler.n_beta, sampler.gamma}:
        raise SettingsError("`sampler=importance` draws from the localizing prior: set `n_beta` and `gamma` above 0.")
    if sampler.batch_size is None and not (sampler.by_draws or sampler.tries_draws):
        # Given sizes are refused where there is not as much data; the default takes what there is.
        default = sampler.chain_batch_size
        sampler = replace(sampler, batch_size=corpus.n) if corpus.n < default else sampler
    new_plan = Plan(
        source=source,
        corpus=corpus,
        sampler=sampler,
        device=kind,
        dtype=sampler.dtype,
        threads=sampler.threads or machine.default_threads(sampler.side_by_side),
        run_dir=Path(),
        deadline=None if sampler.budget_seconds is None else (started or time.time()) + sampler.budget_seconds,
    )
    if new_plan.batch_size > corpus.n and not (sampler.tries_draws and sampler.batch_size is None):
        raise SettingsError(
            f"batch_size must be ≤ {corpus.n}, the {new_plan.items_with_length} in "
            f"the data, got {new_plan.batch_size}. Lower `batch_size`, or give more data."
        )
    return new_plan
