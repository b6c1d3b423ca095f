"""How many tokens a text may have: what was asked for, and what the model has positions for."""

from typing import Any

from transformers import PretrainedConfig

from hf_llc.checkpoints.loading.load import Facts
from hf_llc.errors import SettingsError
from hf_llc.settings.data import MAX_DEFAULT_CONTEXT

_COUNTED_FROM_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "longformer",
                         "mpnet", "xmod", "ibert", "data2vec-text", "luke"}  # fmt: skip
"""Kinds of model whose first position is that after the id of padding: some of max_position_embeddings are not used."""


def context_length(asked: int | None, known: Facts, config: PretrainedConfig, tokenizer: Any, name: str) -> int:
    """Tokens of a text, special ones included.

    Args:
        asked: for how many; None takes min(1024, the model's own). tokenizer: of transformers. name: of the model.

    Raises:
        SettingsError: more were asked for than the model has positions for.
    """
    limits = [] if known.context_limit is None else [known.context_limit]
    if limits and config.model_type in _COUNTED_FROM_PADDING:
        limits[0] -= (config.pad_token_id or 0) + 1
    if isinstance(tokenizer.model_max_length, int) and tokenizer.model_max_length < 10**9:
        limits.append(tokenizer.model_max_length)
    limit = min(limits, default=None)
    if asked is None:
        return MAX_DEFAULT_CONTEXT if limit is None else min(MAX_DEFAULT_CONTEXT, limit)
    if limits and asked > limits[0]:
        raise SettingsError(f"context_length must be ≤ {limits[0]}, the positions of {name}, got {asked}.")
    return asked
