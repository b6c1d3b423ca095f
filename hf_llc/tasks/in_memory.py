"""Models, texts and token ids that are in memory, written to files once, so that every process reads the same ones.

A file's name ends with the hash of its content: the same model or data again is the same file, and a run goes on.
"""

import hashlib
import json
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.errors import ResourceError, SettingsError, UnusableError
from hf_llc.settings.bounds import shown
from hf_llc.settings.data import DataSettings
from hf_llc.settings.files import write_atomically
from hf_llc.settings.model import ModelSettings
from hf_llc.tasks import TASKS
from hf_llc.tasks.adapter_in_memory import is_adapter, save_adapter
from hf_llc.tasks.own_module import training_step
from hf_llc.tasks.regression.data_file import content_of
from hf_llc.tasks.text.token_file import LABELS, LARGEST_ID, MASK, NAMES, checked_labels

FOLDER = Path("hf-llc-runs") / "in-memory"
"""Under the working directory, beside the runs."""
MODELS = "a Hub id, a folder, a .gguf file, ModelSettings, or a transformers or peft model"
SERIES = "a Hub id, a folder of checkpoints, or transformers or peft models by training step or in a list"
DATA = (
    "a Hub id, a file, DataSettings, a datasets.Dataset, a list of texts, a list of rows such as {'messages': …}, "
    "token ids of shape (n, context length), {'input_ids': …, 'labels': …}, or a tuple of inputs and targets"
)
IDS = NAMES[1]
ABANDONED = 24 * 3600.0
"""Seconds without a change after which a folder that is being written is taken for that of a killed process."""


def model_settings(model: Any, tokenizer: Any, data: Any) -> ModelSettings:
    """What `model` names, or where a model in memory now is on this disk.

    Args:
        model: MODELS. tokenizer: of a model in memory; not needed where `data` is token ids.

    Raises:
        SettingsError: it is none of these, or a tokenizer is missing, or beside a model that has its own.
        UnusableError: the model cannot be saved.
    """
    if isinstance(model, ModelSettings | str | Path):
        _refuse_tokenizer(tokenizer)
        return model if isinstance(model, ModelSettings) else ModelSettings(model=str(model))
    from transformers import PreTrainedModel

    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(model, PreTrainedModel) and not is_adapter(model):
        hint = "; of a module of your own, pass losses=… as well" if isinstance(model, torch.nn.Module) else ""
        raise SettingsError(f"model must be {MODELS}, got {_kind(model)}{hint}.")
    if tokenizer is not None or not _takes_numbers(model):
        _check_tokenizer(tokenizer, data)
    folder = _saved(type(model).__name__, lambda place: save_model(model, tokenizer, place))
    return ModelSettings(model=str(folder), trust_remote_code=bool(getattr(model.config, "auto_map", None)))


def series_address(models: Any, tokenizer: Any, data: Any) -> str:
    """What `models` names, or the folder on this disk where a series of models in memory now is.

    Args:
        models: SERIES. tokenizer: of models in memory; not needed where `data` is token ids.

    Raises:
        SettingsError: it is none of these, or a tokenizer is missing. UnusableError: a model cannot be saved.
    """
    if isinstance(models, str | Path):
        _refuse_tokenizer(tokenizer)
        return str(models)
    from transformers import PreTrainedModel

    if isinstance(models, list | tuple):
        models = dict(enumerate(models))
    if not isinstance(models, Mapping) or not models:
        kind = "an empty one" if isinstance(models, Mapping) else _kind(models)
        single = isinstance(models, PreTrainedModel) or is_adapter(models)
        hint = "; hf_llc.estimate takes a single model" if single else ""
        raise SettingsError(f"model must be {SERIES}, got {kind}{hint}.")
    by_step = {training_step(step): getattr(model, "_orig_mod", model) for step, model in models.items()}
    for step, model in by_step.items():
        if not isinstance(model, PreTrainedModel) and not is_adapter(model):
            raise SettingsError(f"model[{step}] must be a transformers or peft model, got {_kind(model)}.")
    if tokenizer is not None or not all(map(_takes_numbers, by_step.values())):
        _check_tokenizer(tokenizer, data)

    def write(place: Path) -> None:
        for step, model in by_step.items():
            save_model(model, tokenizer, place / f"checkpoint-{step}")

    return str(_saved("models", write))


def data_settings(data: Any) -> DataSettings:
    """What `data` names, or where data in memory now is on this disk.

    Args:
        data: DATA; None is the default text.

    Raises:
        SettingsError: it is none of these, or it is empty.
    """
    if data is None:
        return DataSettings()
    if isinstance(data, DataSettings):
        return data
    if isinstance(data, str | Path):
        return DataSettings(dataset=str(data))
    if _are_ids(data):
        return DataSettings(dataset=str(_kept("tokens", ".safetensors", _token_file(torch.as_tensor(data)))))
    if _are_labelled(data):
        return DataSettings(dataset=str(_kept("tokens", ".safetensors", _labelled_file(data))))
    if _are_pairs(data):
        return DataSettings(dataset=str(_kept("items", ".safetensors", content_of(*data))))
    if isinstance(data, list | tuple):
        return DataSettings(dataset=str(_kept("texts", ".jsonl", _text_file(data))))
    from datasets.arrow_dataset import Dataset
    from datasets.dataset_dict import DatasetDict

    if isinstance(data, DatasetDict):
        raise SettingsError(f"data must be one split, got a DatasetDict; choose one of {', '.join(map(str, data))}.")
    if not isinstance(data, Dataset):
        raise SettingsError(f"data must be {DATA}, got {_kind(data)}.")
    return DataSettings(dataset=str(_saved("dataset", lambda place: _save_dataset(data, place)) / "data.parquet"))


def called(dataset: str) -> str:
    """A dataset in a message: `data` for the file that data in memory was written to."""
    return "data" if Path(dataset).parts[: len(FOLDER.parts)] == FOLDER.parts else dataset


def _refuse_tokenizer(tokenizer: Any) -> None:
    if tokenizer is not None:
        raise SettingsError("tokenizer is for a model in memory only: a model on the Hub or on disk has its own.")


def _takes_numbers(model: Any) -> bool:
    """True for a model of regression, whose items nothing has to make."""
    return TASKS["regression"].claims(model.config.to_dict())


def _check_tokenizer(tokenizer: Any, data: Any) -> None:
    """Raise SettingsError unless there is a tokenizer for a model in memory, or the data needs none."""
    if tokenizer is None and not (_are_ids(data) or _are_labelled(data)):
        raise SettingsError(
            "tokenizer is needed for a model in memory: pass tokenizer=…, of images their processor, or as data a "
            "tensor of token ids of shape (n, context length)."
        )
    from transformers import BaseImageProcessor, PreTrainedTokenizerBase, ProcessorMixin

    if tokenizer is not None and not isinstance(
        tokenizer, PreTrainedTokenizerBase | ProcessorMixin | BaseImageProcessor
    ):
        raise SettingsError(
            f"tokenizer must be a tokenizer or image processor of transformers, got {shown(tokenizer)}."
        )


def _are_labelled(data: Any) -> bool:
    """True for token ids and labels as tensors or arrays by name."""
    return isinstance(data, Mapping) and {IDS, LABELS} <= data.keys() and all(map(_are_ids, data.values()))


def _are_pairs(data: Any) -> bool:
    """True for inputs and targets as two tensors or arrays."""
    return isinstance(data, list | tuple) and len(data) == 2 and all(map(_are_ids, data))


def _are_ids(data: Any) -> bool:
    return isinstance(data, Tensor) or type(data).__module__ == "numpy"


def save_model(model: Any, tokenizer: Any, place: Path) -> None:
    """Save a transformers model, or an adapter of peft, and its tokenizer unless that is None, to a folder.

    The base of an adapter is saved below FOLDER.

    Raises:
        SettingsError: an adapter in a state of which no file can be written. UnusableError: it cannot be saved.
        OSError: the folder cannot be written.
    """
    try:
        with _without_bars():
            if is_adapter(model):
                save_adapter(model, place, _saved)
            else:
                model.save_pretrained(place)
        if tokenizer is not None:
            tokenizer.save_pretrained(place)
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnusableError(
            f"model cannot be saved, which an estimate needs: {type(model).__name__} ({reason})."
        ) from error


def _save_dataset(data: Any, place: Path) -> None:
    if not len(data):
        raise SettingsError("data has no rows; give a dataset with text or images.")
    with _without_bars():
        data.to_parquet(str(place / "data.parquet"))


def _text_file(rows: Sequence[Any]) -> bytes:
    """Texts, or rows as mappings of columns, as JSON lines."""
    lines = []
    kind = Mapping if rows and isinstance(rows[0], Mapping) else str
    for index, row in enumerate(rows):
        if not isinstance(row, kind):
            ids = isinstance(row, list | tuple)
            hint = "; token ids go into one tensor of shape (n, context length)" if ids else ""
            expected = "a mapping, as the first one is" if kind is Mapping else "a string"
            raise SettingsError(f"data[{index}] must be {expected}, got {shown(row)}{hint}.")
        try:
            lines.append(json.dumps({"text": row} if isinstance(row, str) else dict(row), ensure_ascii=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise SettingsError(f"data[{index}] must hold what JSON can hold ({error}).") from error
    if not lines:
        raise SettingsError("data is an empty list; give at least one text.")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _labelled_file(data: Mapping[str, Any]) -> bytes:
    """Token ids with labels, and with a mask if there is one."""
    tensors = {name: torch.as_tensor(data[name]).detach().cpu() for name in (IDS, LABELS, MASK) if name in data}
    _token_file(tensors[IDS])
    checked_labels(tensors[IDS], tensors[LABELS], tensors.get(MASK), "data")
    return save({name: tensor.to(torch.int64).contiguous() for name, tensor in tensors.items()})


def _token_file(ids: Tensor) -> bytes:
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise SettingsError(f"data must hold whole numbers as token ids, got a tensor of {ids.dtype}.")
    if ids.dim() != 2:
        raise SettingsError(f"data must have the shape (n, context length), got {tuple(ids.shape)}.")
    if ids.layout != torch.strided or ids.is_meta:
        raise SettingsError(f"data must be a dense tensor of token ids, got one of {ids.layout} on {ids.device}.")
    if ids.shape[0] < 2 or ids.shape[1] < 2:
        raise SettingsError(f"data must hold 2 sequences or more, of 2 tokens or more, got {tuple(ids.shape)}.")
    ids = ids.detach().cpu().to(torch.int64).contiguous()
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > LARGEST_ID:
        raise SettingsError(f"data must hold token ids from 0 to {LARGEST_ID}, got {low} to {high}.")
    return save({NAMES[0]: ids})


def _kept(name: str, suffix: str, content: bytes) -> Path:
    path = FOLDER / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
    with _writing():
        if not path.exists():
            write_atomically(path, content)
    return path


def _saved(name: str, write: Callable[[Path], None]) -> Path:
    """The folder that `write` fills, named by its content."""
    _remove_abandoned()
    place = FOLDER / f".{name}-{secrets.token_hex(6)}"
    with _writing():
        place.mkdir(parents=True)
    try:
        with _writing():
            write(place)
        folder = FOLDER / f"{name}-{content_hash(place)[:12]}"
        if not folder.exists():
            try:
                place.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was faster, with the same content
                    raise
        return folder
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _remove_abandoned() -> None:
    """Remove what processes that were killed while they saved a model or a dataset left."""
    for place in FOLDER.glob(".*"):
        try:
            if not place.is_dir():
                continue
            changed = max(path.stat().st_mtime for path in [place, *place.iterdir()])
            if time.time() - changed > ABANDONED:
                shutil.rmtree(place, ignore_errors=True)
        except OSError:
            continue  # another process removes it


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"A model or data in memory is saved below {FOLDER.absolute()}, which cannot be written "
            f"({error.strerror or error}); change to a folder that can."
        ) from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """No progress bars of transformers and datasets."""
    from datasets.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown_before = not are_progress_bars_disabled()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HF_DATASETS_DISABLE_PROGRESS_BARS wins over both calls, and says so
        disable_progress_bars()
        try:
            yield
        finally:
            if shown_before:
                enable_progress_bars()


def content_hash(folder: Path) -> str:
    """Hash of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
