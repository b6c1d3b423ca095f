"""A user's own module and loss per item, in the memory of this process.

`hf_llc.estimate(module, items, losses=fn)` calls this, as do `hf_llc.measure` and, with several modules, `hf_llc.scan`.
A run is kept in a folder like any other, under a key that hashes weights, buffers, items, and the losses of all items
at w* and near it, so that the same call goes on with it: no text of a program says what a function computes, which may
read attributes, closures and other functions.
"""

import copy
import hashlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import ResourceError, SettingsError, UnusableError, listed
from hf_llc.settings.bounds import shown
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.tasks.base import Computation
from hf_llc.tasks.items import ItemObjective

Losses = Callable[[Any, Any], Tensor]
"""The module and some items, in the structure they were given in -> ℓ_i, (m,)."""
NAME = "own-module"
TOLERANCE = 1e-4
"""Of the largest loss, by which the loss of an item may depend on its batch: rounding of float32."""
TOGETHER, CHECKED = 32, 4
"""Items whose losses are computed together, and how many of these one by one."""
FAR, AT_ONCE = 0.1, 256
"""Root mean squares of the weights by which these are displaced for a run's identity, and items computed at once."""
FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, NotImplementedError)
"""What a user's own code may raise."""


class _Given(NamedTuple):
    """What a call has handed over."""

    module: torch.nn.Module
    items: dict[str, Tensor]
    losses: Losses
    restored: Callable[[Mapping[str, Tensor]], Any]


_GIVEN: dict[str, list[_Given]] = {}
"""By the identity of weights and loss, of every call that runs; several threads may run the same one."""
_GIVEN_OF: WeakKeyDictionary[torch.nn.Module, _Given] = WeakKeyDictionary()
"""By the copy of the module that is computed with."""


class OwnModule:
    """Any loss that is a mean over items."""

    item = "item"
    unit = "nats per item"

    def claims(self, config: Mapping[str, Any]) -> bool:
        """False: no model on a disk is such a module."""
        return False

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """False."""
        return False

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """Raise SettingsError: items are handed over with the module."""
        raise SettingsError("A module of your own is estimated from Python: hf_llc.estimate(module, items, losses=…).")

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """The tensors that were handed over."""
        return _given(corpus.revision).items

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """A copy of the module on the device, in evaluation mode; 16-bit weights become float32."""
        given = _given(source.sha)
        module = _copy(given.module).to(device)
        _GIVEN_OF[module] = given
        return module

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError unless there is one loss per item, which depends on this item alone."""
        given = _GIVEN_OF[model]
        device = next(model.parameters()).device
        # Spread over all items: the first ones may be alike, as in sorted data.
        n = len(next(iter(items.values())))
        chosen = torch.linspace(0, n - 1, min(n, TOGETHER)).round().long()
        rows = {name: tensor[chosen].to(device) for name, tensor in items.items()}
        count = len(chosen)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

        def losses_of(part: Mapping[str, Tensor]) -> Tensor:
            return _losses_of(given, model, part).double()

        together = losses_of(rows)
        checked = range(0, count, max(1, count // CHECKED))
        alone = torch.cat([losses_of({name: row[i : i + 1] for name, row in rows.items()}) for i in checked])
        again = losses_of(rows)
        if not torch.equal(together.nan_to_num(), again.nan_to_num()):
            raise UnusableError("losses must not be random: it gave other values at the same weights and items.")
        among = together[list(checked)]
        if not torch.isfinite(together).all():
            first = int((~torch.isfinite(together)).nonzero()[0])
            value, item = float(together[first]), int(chosen[first])
            raise UnusableError(f"losses must be finite at the weights given, got {value} for item {item}.")
        if float((among - alone).abs().max()) > TOLERANCE * max(1.0, float(together.abs().max())):
            raise UnusableError(
                f"losses must depend on each item alone, got {among.tolist()} for items among {count} together and "
                f"{alone.tolist()} for each by itself. Use reduction='none', and no statistics of the batch."
                f"{_on_batch_norm(model)}"
            )
        moved = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, buffers[name])]
        if moved:
            raise UnusableError(f"losses must not change the module's buffers, but changes {', '.join(moved[:3])}.")

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> ItemObjective:
        """The mean of the losses."""
        given = _GIVEN_OF[model]
        size = computation.micro_batch_size or computation.batch_size
        return ItemObjective(
            lambda rows: given.losses(model, given.restored(rows)),
            parameters,
            items,
            min(size, computation.batch_size),
            computation.dtype,
        )


TASK = OwnModule()


@contextmanager
def handed_over(module: torch.nn.Module, items: Any, losses: Losses) -> Iterator[tuple[ModelSource, Corpus]]:
    """The module and its items as the source and the items of a run, for as long as the block runs.

    Raises:
        SettingsError: an argument is something else, or there are fewer than two items.
    """
    if not isinstance(module, torch.nn.Module):
        raise SettingsError(f"model must be a torch.nn.Module where losses is given, got {shown(module)}.")
    if not callable(losses):
        raise SettingsError(f"losses must be a function (module, items) -> losses of shape (m,), got {shown(losses)}.")
    tensors, restored = _tensors(items)
    name = type(module).__name__
    given = _Given(module, tensors, losses, restored)
    sha = _identity(given)
    source = ModelSource(id=name, revision=None, sha=sha, step=None, path=Path())
    corpus = Corpus(
        id="in memory",
        revision=sha,
        config=None,
        split="",
        text_column="",
        fingerprint=_digest(sorted(tensors.items())),
        n=len(next(iter(tensors.values()))),
        context_length=1,
        path=Path(),
        task=NAME,
    )
    _GIVEN.setdefault(sha, []).append(given)
    try:
        yield source, corpus
    finally:
        _GIVEN[sha] = [each for each in _GIVEN[sha] if each is not given]


class OwnSeries(NamedTuple):
    """Modules of a series as its checkpoints.

    Attributes:
        sources: by name, of every checkpoint. corpus: the items of all; its revision is the identity of the first
            module with the loss.
    """

    name: str
    checkpoints: list[Checkpoint]
    sources: dict[str, ModelSource]
    corpus: Corpus


@contextmanager
def series_handed_over(modules: Any, items: Any, losses: Losses) -> Iterator[OwnSeries]:
    """Modules by training step, or a list of them, as the checkpoints of a scan for as long as the block runs.

    Raises:
        SettingsError: an argument is something else. UnusableError: the loss fails for one of them.
    """
    by_step = dict(enumerate(modules)) if isinstance(modules, list | tuple) else modules
    if not isinstance(by_step, Mapping) or not by_step:
        raise SettingsError(
            f"model must be modules by training step, or a list of them, where losses is given, got {shown(modules)}; "
            "hf_llc.estimate and hf_llc.measure take a single one."
        )
    checkpoints: list[Checkpoint] = []
    sources: dict[str, ModelSource] = {}
    corpora: list[Corpus] = []
    first: dict[str, str] = {}
    with ExitStack() as stack:
        for key, module in sorted({training_step(key): module for key, module in by_step.items()}.items()):
            source, corpus = stack.enter_context(handed_over(module, items, losses))
            name = f"step{key}"
            sources[name] = replace(source, step=key)
            corpora.append(corpus)
            model = ModelSettings(model=source.id)
            copied = first.setdefault(source.sha, name)
            duplicate = copied if copied != name else None
            checkpoints.append(Checkpoint(name=name, model=model, sha=source.sha, step=key, duplicate_of=duplicate))
        yield OwnSeries(next(iter(sources.values())).id, checkpoints, sources, corpora[0])


def training_step(key: Any) -> int:
    """The key of a model in a series as a training step.

    Raises:
        SettingsError: it is none.
    """
    try:
        step = operator.index(key)
    except TypeError:
        step = -1
    if isinstance(key, bool) or step < 0:
        raise SettingsError(f"model must have training steps as keys, whole numbers ≥ 0, got {shown(key)}.")
    return step


def _given(sha: str) -> _Given:
    if not _GIVEN.get(sha):
        raise ResourceError("The module of this run was in memory only: call hf_llc.estimate(module, items, losses=…).")
    return _GIVEN[sha][0]


def _copy(module: torch.nn.Module) -> torch.nn.Module:
    """The module in evaluation mode, its 16-bit weights and buffers as float32.

    Raises:
        UnusableError: it has no weights that move, or cannot be copied.
    """
    name, parameters = type(module).__name__, list(module.parameters())
    if any(map(is_lazy, parameters)):
        raise UnusableError(f"model must have initialized parameters: call this {name} once.")
    if not any(parameter.requires_grad for parameter in parameters):
        raise UnusableError(f"model must have parameters that require a gradient, and this {name} has none.")
    try:
        twin = copy.deepcopy(module)
        for tensor in (*twin.parameters(), *twin.buffers()):
            if tensor.dtype in {torch.float16, torch.bfloat16}:
                tensor.data = tensor.data.float()
        return twin.eval()
    except FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise UnusableError(f"The {name} cannot be copied ({reason}).") from error


def _losses_of(given: _Given, module: torch.nn.Module, part: Mapping[str, Tensor]) -> Tensor:
    """ℓ_i of these items, (m,), without a graph.

    Raises:
        UnusableError: the function failed, or returned something else.
    """
    try:
        with torch.no_grad():
            values = given.losses(module, given.restored(part))
    except FAILURES as error:
        kind, text = type(error).__name__, " ".join(str(error).split())[:300]
        raise UnusableError(f"losses failed ({kind}: {text}).{_on_batch_norm(module)}") from error
    wanted = len(next(iter(part.values())))
    if not isinstance(values, Tensor) or tuple(values.shape) != (wanted,):
        got = tuple(values.shape) if isinstance(values, Tensor) else shown(values)
        raise UnusableError(f"losses must return a tensor of shape ({wanted},) for {wanted} items, got {got}.")
    return values.detach()


def _on_batch_norm(module: torch.nn.Module) -> str:
    """What may be to blame where a loss depends on its batch, or cannot be had for a single item; else nothing."""
    norms = {name: each for name, each in module.named_modules() if isinstance(each, _BatchNorm)}
    of_batch = [name for name, each in norms.items() if each.running_mean is None]
    return (
        f" Batch norm {listed(of_batch)} normalizes by the statistics of its batch: set track_running_stats=True."
        if of_batch
        else ""
    )


def _identity(given: _Given) -> str:
    """`sha256:<64 hex>` of weights, buffers, which of them move, and the losses at w* and at a displacement of it."""
    module = _copy(given.module)
    named = dict(module.named_parameters(remove_duplicate=False))
    tensors: list[tuple[str, Tensor]] = [(f"{name} {each.requires_grad}", each) for name, each in named.items()]
    # A displaced buffer would be another function; the losses that follow from it say what it does.
    tensors += [(f"buffer {name}", each) for name, each in module.named_buffers()]
    digest = [("weights", _digest([(name, each.clone()) for name, each in tensors]))]
    stream = torch.Generator().manual_seed(0)
    for place in ("center", "displaced"):
        if place == "displaced":
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.requires_grad:
                        size = FAR * max(float(parameter.detach().double().square().mean().sqrt()), FAR)
                        noise = torch.randn(parameter.shape, generator=stream).to(parameter)
                        parameter.add_(noise, alpha=size)
        parts = []
        for start in range(0, len(next(iter(given.items.values()))), AT_ONCE):
            device = next(module.parameters()).device
            rows = {name: each[start : start + AT_ONCE].to(device) for name, each in given.items.items()}
            parts.append(_losses_of(given, module, rows).cpu())
        digest.append((place, _digest([(place, torch.cat(parts))])))
    return f"sha256:{hashlib.sha256(repr(digest).encode()).hexdigest()}"


def _tensors(items: Any) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor]], Any]]:
    """The tensors by name, and what puts rows of them back into the structure of `items`."""
    if isinstance(items, Tensor):
        tensors, restored = {"0": items}, lambda rows: rows["0"]
    elif isinstance(items, Mapping):
        keys = list(items)
        tensors = {str(index): items[key] for index, key in enumerate(keys)}
        restored = lambda rows: {key: rows[str(index)] for index, key in enumerate(keys)}  # noqa: E731
    elif isinstance(items, tuple | list):
        tensors = {str(index): value for index, value in enumerate(items)}
        restored = lambda rows: tuple(rows[str(index)] for index in range(len(rows)))  # noqa: E731
    else:
        raise SettingsError(f"data must be a tensor, or a tuple or mapping of tensors, got {shown(items)}.")
    for key, value in tensors.items():
        if not isinstance(value, Tensor) or value.dim() == 0:
            raise SettingsError(f"data must hold tensors with a row an item, got {shown(value)} for {key}.")
    sizes = {len(value) for value in tensors.values()}
    if len(sizes) != 1 or min(sizes) < 2:
        raise SettingsError(f"data must hold tensors of the same length, 2 or more, got {sorted(sizes)}.")
    return {key: value.detach() for key, value in tensors.items()}, restored


def _digest(tensors: Sequence[tuple[str, Tensor]]) -> str:
    """`sha256:<64 hex>` of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
