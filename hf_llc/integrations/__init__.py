"""Other tools: the Trainer of transformers, trackers and Hugging Face Jobs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_llc.integrations.trainer import LLCCallback

__all__ = ["LLCCallback"]


def __getattr__(name: str) -> Any:
    """The callback on first use: it imports transformers' Trainer, for which nothing else here should wait."""
    if name == "LLCCallback":
        from hf_llc.integrations.trainer import LLCCallback

        return LLCCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
