"""transformers silenced, and its failures as one sentence each (transformers)."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transformers
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from transformers import modeling_gguf_pytorch_utils
from transformers.utils import logging

from hf_llc.checkpoints.code_references import code_references
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import HfLlcError, ResourceError, UnusableError, of_memory

_GGUF: Any = modeling_gguf_pytorch_utils
_ADVICE = re.compile(r"weights_only|ignore_mismatched_sizes|safe_globals")
"""Phrases of advice in errors of torch and transformers that does not apply here."""
_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "max_position_embeddings", "n_embd", "n_layer", "n_head", "n_positions", "n_inner", "d_model",
)  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no log lines of transformers inside, unless HF_DEBUG is set."""
    if os.environ.get("HF_DEBUG", "").lower() in {"1", "true", "yes", "on"}:
        yield
        return
    verbosity, bars, hub_bars = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        not are_progress_bars_disabled(),
    )
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    gguf_bar = getattr(_GGUF, "tqdm", None)  # the one bar that cannot be switched off
    _GGUF.tqdm = lambda tensors, **_: tensors
    try:
        yield
    finally:
        _GGUF.tqdm = gguf_bar
        logging.set_verbosity(verbosity)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # HF_HUB_DISABLE_PROGRESS_BARS wins over what follows, and says so
            if bars:
                logging.enable_progress_bar()
        if not hub_bars:
            disable_progress_bars()


@contextmanager
def explained(source: ModelSource, what: str = "", differing: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turns what transformers, or the code of a model, raises inside into our errors.

    Args:
        what: the part that is being read and, after a semicolon, what to do if it cannot be.
        differing: says which tensor has another shape in the files than by the config.
    """
    try:
        yield
    except Exception as error:
        # Configs and models are the code of hundreds of authors, and raise whatever they like.
        if isinstance(error, HfLlcError):
            raise
        raise _translate(source, error, what, differing) from error


@contextmanager
def computed(source: ModelSource, context_length: int | None, dtype: str) -> Iterator[None]:
    """Turns what a model raises inside, where its loss is computed for the first time, into one of our errors.

    Args:
        context_length: tokens of an item; None of what is no text.
    """
    try:
        yield
    except Exception as error:
        # Models are the code of hundreds of authors, and raise whatever they like.
        if isinstance(error, HfLlcError) or of_memory(error):
            raise
        tokens = f" of {context_length} tokens" if context_length else ""
        remedies = [
            *(["a smaller `context_length`"] if tokens else []),
            *(["`dtype=float32`"] if dtype != "float32" else []),
        ]
        advice = f" Try {', or '.join(remedies)}." if remedies else ""
        raise UnusableError(
            f"{source.id} cannot compute the loss{tokens} and its gradient in {dtype} "
            f"({type(error).__name__}: {_short(' '.join(str(error).split()))}).{advice}"
        ) from error


def _translate(source: ModelSource, error: BaseException, what: str, differing: Callable[[], str]) -> HfLlcError:
    text = " ".join(str(error).split())
    part, _, advice = what.partition("; ")
    if of_memory(error):
        return ResourceError(f"{source.id} does not fit in memory; use a smaller model or a larger device.")
    if "trust_remote_code" in text and not source.trust_remote_code:
        folder = source.path / (source.subfolder or "") if source.path else None
        others = sorted({repository for repository, _ in code_references(folder)}) if folder else []
        whose = f"the repository {' and '.join(others)}" if others else "its repository"
        return UnusableError(
            f"{source.id} needs Python code from {whose}; read it, then allow it with `trust_remote_code`."
        )
    if isinstance(error, ImportError):
        return UnusableError(f"{source.id} needs a package that is not installed: {_short(text)}")
    if "Unrecognized configuration class" in text:
        return UnusableError(
            f"{source.id} is not a causal language model, or one that this transformers does not know."
        )
    if _ADVICE.search(text):
        reason = differing() or "they are not tensors of the shapes that config.json announces"
    else:
        reason = f"{type(error).__name__}: {_short(text)}{_odd_sizes(source)}"
    return UnusableError(
        f"transformers {transformers.__version__} cannot read {part or 'the weights'} of {source.id}"
        f"{'; ' + advice if advice else ''} ({reason})"
    )


def _odd_sizes(source: ModelSource) -> str:
    """The sizes in config.json that are not positive, as the end of a sentence: most failures to build are theirs."""
    if source.path is None:
        return ""
    try:
        content = json.loads((source.path / (source.subfolder or "") / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    odd = [
        f"{name} = {content[name]}"
        for name in _SIZES
        if isinstance(content.get(name), int) and not isinstance(content[name], bool) and content[name] <= 0
    ]
    return f"; its config.json says {', '.join(odd)}" if odd else ""


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
