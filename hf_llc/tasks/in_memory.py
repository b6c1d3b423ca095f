"""Models, texts and token ids that are in memory, written to files once, so that every process reads the same ones.

A file's name ends with the hash of its content: the same model or data again is the same file, and a run goes on.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from hf_llc.errors import SettingsError, UnusableError
from hf_llc.settings.bounds import shown
from hf_llc.settings.files import write_atomically
from hf_llc.settings.requested import DataSettings, ModelSettings

FOLDER = Path("hf-llc-runs") / "in-memory"
"""Under the working directory, beside the runs."""
MODELS = "a Hub id, a folder, a .gguf file, ModelSettings or a transformers model"
DATA = "a Hub id, a file, DataSettings, a datasets.Dataset, a list of texts or token ids of shape (n, context length)"
TOKENS = "tokens"
"""Name of the tensor in a file of token ids."""


def model_settings(model: Any, tokenizer: Any, data: Any) -> ModelSettings:
    """What `model` names, or where a model in memory now is on this disk.

    Args:
        model: MODELS. tokenizer: of a model in memory; not needed where `data` is token ids.

    Raises:
        SettingsError: it is none of these, or a tokenizer is missing, or beside a model that has its own.
        UnusableError: the model cannot be saved.
    """
    if isinstance(model, ModelSettings | str | Path):
        if tokenizer is not None:
            raise SettingsError("tokenizer belongs to a model in memory; a model on the Hub or a disk has its own.")
        return model if isinstance(model, ModelSettings) else ModelSettings(model=str(model))
    from transformers import PreTrainedModel

    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(model, PreTrainedModel):
        raise SettingsError(f"model must be {MODELS}, got {_kind(model)}.")
    if tokenizer is None and not _are_ids(data):
        raise SettingsError(
            "tokenizer is needed for a model in memory: pass tokenizer=…, or token ids of shape (n, context length) as "
            "data."
        )
    folder = _saved(type(model).__name__, lambda place: _save_model(model, tokenizer, place))
    return ModelSettings(model=str(folder), trust_remote_code=bool(getattr(model.config, "auto_map", None)))


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
    if isinstance(data, list | tuple):
        return DataSettings(dataset=str(_kept("texts", ".jsonl", _text_file(data))))
    from datasets.arrow_dataset import Dataset
    from datasets.dataset_dict import DatasetDict

    if isinstance(data, DatasetDict):
        raise SettingsError(f"data must be one split, got a DatasetDict; choose one of {', '.join(map(str, data))}.")
    if not isinstance(data, Dataset):
        raise SettingsError(f"data must be {DATA}, got {_kind(data)}.")
    return DataSettings(dataset=str(_saved("dataset", lambda place: _save_dataset(data, place)) / "data.parquet"))


def _are_ids(data: Any) -> bool:
    return isinstance(data, Tensor) or type(data).__module__ == "numpy"


def _save_model(model: Any, tokenizer: Any, place: Path) -> None:
    try:
        model.save_pretrained(place)
        if tokenizer is not None:
            tokenizer.save_pretrained(place)
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnusableError(
            f"The {type(model).__name__} cannot be saved ({reason}), and so not be estimated."
        ) from error


def _save_dataset(data: Any, place: Path) -> None:
    if not len(data):
        raise SettingsError("data has no rows; give a dataset with text.")
    data.to_parquet(str(place / "data.parquet"))


def _text_file(texts: Iterable[Any]) -> bytes:
    lines = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise SettingsError(f"data[{index}] must be a string, got {shown(text)}.")
        lines.append(json.dumps({"text": text}, ensure_ascii=False))
    if not lines:
        raise SettingsError("data is an empty list; give at least one text.")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _token_file(ids: Tensor) -> bytes:
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise SettingsError(f"data must hold whole numbers as token ids, got a tensor of {ids.dtype}.")
    if ids.dim() != 2:
        raise SettingsError(f"data must have the shape (n, context length), got {tuple(ids.shape)}.")
    return save({TOKENS: ids.detach().cpu().to(torch.int64).contiguous()})


def _kept(name: str, suffix: str, content: bytes) -> Path:
    path = FOLDER / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
    if not path.exists():
        write_atomically(path, content)
    return path


def _saved(name: str, write: Callable[[Path], None]) -> Path:
    """The folder that `write` fills, named by its content."""
    place = FOLDER / f".{name}-{secrets.token_hex(6)}"
    place.mkdir(parents=True)
    try:
        write(place)
        folder = FOLDER / f"{name}-{_digest(place)[:12]}"
        if not folder.exists():
            place.rename(folder)
        return folder
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _digest(folder: Path) -> str:
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
