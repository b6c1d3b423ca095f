"""A user's own module and loss per item, in the memory of this process.

`hf_llc.estimate(module, items, losses=fn)` calls this. A run is kept in a folder like any other, under a key that
hashes weights, items and the source of the loss, so that the same call goes on with it.
"""

import copy
import hashlib
import inspect
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import ResourceError, SettingsError, UnusableError
from hf_llc.settings.bounds import shown
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.base import Computation
from hf_llc.tasks.items import ItemObjective

Losses = Callable[[Any, Any], Tensor]
"""The module and some items, in the structure they were given in -> ℓ_i, (m,)."""
NAME = "own-module"
TOLERANCE = 1e-4
"""Of the largest loss, by which the loss of an item may depend on its batch: rounding of float32."""
CHECKED = 4
"""Items whose losses are computed together and one by one."""


class _Given(NamedTuple):
    """What a call has handed over."""

    module: torch.nn.Module
    items: dict[str, Tensor]
    losses: Losses
    restored: Callable[[Mapping[str, Tensor]], Any]


_GIVEN: dict[str, _Given] = {}
"""By the identity of weights and loss, while the call runs."""
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
        try:
            module = copy.deepcopy(given.module)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise UnusableError(f"{source.id} cannot be copied ({' '.join(str(error).split())[:200]}).") from error
        for parameter in module.parameters():
            if parameter.dtype in {torch.float16, torch.bfloat16}:
                parameter.data = parameter.data.float()
        module = module.to(device).eval()
        _GIVEN_OF[module] = given
        return module

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError unless there is one loss per item, which depends on this item alone."""
        given = _GIVEN_OF[model]
        device = next(model.parameters()).device
        rows = {name: tensor[:CHECKED].to(device) for name, tensor in items.items()}
        count = len(next(iter(rows.values())))
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

        def losses_of(part: Mapping[str, Tensor]) -> Tensor:
            try:
                values = given.losses(model, given.restored(part))
            except (RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
                kind, text = type(error).__name__, " ".join(str(error).split())[:300]
                raise UnusableError(f"losses failed on the first {CHECKED} items ({kind}: {text}).") from error
            wanted = len(next(iter(part.values())))
            if not isinstance(values, Tensor) or tuple(values.shape) != (wanted,):
                got = tuple(values.shape) if isinstance(values, Tensor) else shown(values)
                raise UnusableError(f"losses must return a tensor of shape ({wanted},) for {wanted} items, got {got}.")
            return values.detach().double()

        with torch.no_grad():
            together = losses_of(rows)
            alone = torch.cat([losses_of({name: row[i : i + 1] for name, row in rows.items()}) for i in range(count)])
            again = losses_of(rows)
        if not torch.equal(together.nan_to_num(), again.nan_to_num()):
            raise UnusableError("losses must not be random: it gave other values at the same weights and items.")
        if float((together - alone).abs().max()) > TOLERANCE * max(1.0, float(together.abs().max())):
            raise UnusableError(
                f"losses must depend on each item alone, got {together.tolist()} for {count} items together and "
                f"{alone.tolist()} for each by itself. Use reduction='none', and no statistics of the batch."
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
    weights = [(key, value) for key, value in module.state_dict().items() if isinstance(value, Tensor)]
    sha = _digest(weights, _source_of(type(module)) + _source_of(losses))
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
    _GIVEN[sha] = _Given(module, tensors, losses, restored)
    try:
        yield source, corpus
    finally:
        del _GIVEN[sha]


def _given(sha: str) -> _Given:
    if sha not in _GIVEN:
        raise ResourceError("The module of this run was in memory only: call hf_llc.estimate(module, items, losses=…).")
    return _GIVEN[sha]


def _tensors(items: Any) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor]], Any]]:
    """The tensors by name, and what puts rows of them back into the structure of `items`."""
    if isinstance(items, Tensor):
        tensors, restored = {"0": items}, lambda rows: rows["0"]
    elif isinstance(items, Mapping):
        tensors, restored = {str(key): value for key, value in items.items()}, dict
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


def _digest(tensors: Sequence[tuple[str, Tensor]], code: str = "") -> str:
    """`sha256:<64 hex>` of names, types, shapes and values, and of code that goes with them."""
    digest = hashlib.sha256(code.encode())
    for name, tensor in tensors:
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def _source_of(thing: Any) -> str:
    """Its source, or where that is not known the code of a function."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError, SyntaxError, IndexError, tokenize.TokenError):
        # As of code that was typed in, or changed since.
        code = getattr(thing, "__code__", None)
        return f"{code.co_code.hex()}{code.co_consts}{code.co_names}" if code else type(thing).__qualname__
