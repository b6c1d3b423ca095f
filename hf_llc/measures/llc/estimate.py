"""`hf_llc.estimate`: the local learning coefficient of one checkpoint, from Python."""

import time
from pathlib import Path
from typing import Annotated, Any

from hf_llc.errors import SettingsError
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan, plan_in_memory
from hf_llc.measures.llc import estimation
from hf_llc.measures.llc.verdict import require_number
from hf_llc.measures.run import execute
from hf_llc.results.estimate import Estimate
from hf_llc.results.progress import Observer
from hf_llc.settings.bounds import Bounds, checked_arguments
from hf_llc.settings.limits import MOST_PROCESSES
from hf_llc.settings.overrides import requested
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.in_memory import data_settings, model_settings


@checked_arguments
def estimate(
    model: Any,
    data: Any = None,
    sampler: SamplerSettings | str | None = None,
    *,
    tokenizer: Any = None,
    losses: Any = None,
    settings: Any = None,
    output_dir: Path | None = None,
    device: str | None = None,
    num_processes: Annotated[int, Bounds(low=1, high=MOST_PROCESSES)] = 1,
    observer: Observer | None = None,
    **overrides: Any,
) -> Estimate:
    """The local learning coefficient of one checkpoint, with its standard error and verdict.

    Work that an earlier call has left in the folder is used.

    Args:
        model: a Hub id, also as org/name@revision, an `hf://` URI, a local folder or a .gguf file; ModelSettings; or a
            transformers or peft model in memory, which is saved below `hf-llc-runs/in-memory` first and stays as it is;
            or with `losses` any `torch.nn.Module`.
        data: a Hub dataset, a file, `DataSettings`, or in memory a `datasets.Dataset`, a list of texts, a list of rows
            as mappings, such as `{"messages": […]}` of a conversation, a tensor of token ids of shape (n, context
            length), or of regression a tuple of inputs and targets; None is the default text. With `losses` the items:
            a tensor with a row an item, or a tuple or mapping of such tensors.
        sampler: how the posterior is sampled, or the name of a sampler. What is None is chosen.
        tokenizer: of a model in memory; token ids need none.
        losses: a loss of your own, (module, items) -> ℓ_i of shape (m,), in nats, for m of the items in the structure
            they were given in. Each may depend on its own item alone. A copy of the module in evaluation mode is used.
        settings: a settings file, a mapping of its names, or a result whose settings to use, such as a calibration.
        output_dir: folder of the run; None means `hf-llc-runs/<model>/<sha>/<key>` under the working directory.
        device: `cpu`, `cuda` or `mps`; None takes the best one available.
        num_processes: more than one starts as many, which share the chains or draws.
        observer: receives progress and messages; None is silent.
        overrides: single settings by name, such as `gamma=7800` or `max_sequences=512`; they win over all others.

    Raises:
        SettingsError: an argument makes no sense, or contradicts another one or the model; names it.
        SourceError: the model or the text cannot be read. UnusableError: they cannot be used for an estimate.
        ResourceError: memory, disk or a permission is missing, or the folder holds another run.
        DivergedError: fewer than two chains, or not all independent draws, stayed finite.
    """
    started = time.monotonic()
    observer = observer or Observer()
    if losses is not None:
        return _of_own_module(
            model, data, sampler, losses, settings, output_dir, device, num_processes, observer, overrides
        )
    asked_model, asked_data = model_settings(model, tokenizer, data), data_settings(data)
    asked_data, asked_sampler = requested(asked_data, sampler, settings, overrides, "estimate")

    def make_plan() -> Plan:
        return plan(asked_model, asked_data, asked_sampler, output_dir=output_dir, device=device, observer=observer)

    if num_processes > 1:
        result = execute(
            make_plan,
            processes=num_processes,
            device=device,
            observer=observer,
            devices_per_chain=asked_sampler.devices_per_chain,
        )
        assert result is not None  # only ranks of a user's own launch have none
    else:
        own = make_plan()
        estimation.run(own, fleets.single_process(own.device), observer)
        with observer.part("results"):
            result = estimation.collect(own, observer, started)
    require_number(result)
    return result


def _of_own_module(
    module: Any,
    items: Any,
    sampler: SamplerSettings | str | None,
    losses: Any,
    settings: Any,
    output_dir: Path | None,
    device: str | None,
    num_processes: int,
    observer: Observer,
    overrides: dict[str, Any],
) -> Estimate:
    """The Estimate of a module and a loss in memory."""
    started = time.monotonic()
    if num_processes > 1:
        raise SettingsError(f"num_processes must be 1 for a module in memory, got {num_processes}.")
    with plan_in_memory(
        module,
        items,
        losses,
        sampler,
        function="estimate",
        settings=settings,
        overrides=overrides,
        output_dir=output_dir,
        device=device,
        observer=observer,
    ) as own:
        estimation.run(own, fleets.single_process(own.device), observer)
        with observer.part("results"):
            result = estimation.collect(own, observer, started)
    require_number(result)
    return result
