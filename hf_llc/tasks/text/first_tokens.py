"""Which tokens begin a text: those that the tokenizer puts before one, such as BOS."""

from typing import Any

from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.errors import UnusableError

PROBE = "a"
"""A text that every tokenizer has tokens for."""


def first_ids(tokenizer: Any, asked: str, model: str) -> list[int]:
    """The ids that each packed sequence begins with.

    Args:
        tokenizer: of transformers. asked: `auto`, `always` or `never`. model: its name, for messages.

    Raises:
        UnusableError: `always` is asked for, and the tokenizer has no token that begins a text.
    """
    if asked == "never":
        return []
    ids = put_before(tokenizer)
    if ids or asked == "auto":
        return ids
    if not isinstance(tokenizer.bos_token_id, int):
        raise UnusableError(
            f"bos must be auto or never for {model}, whose tokenizer names no token that begins a text, got always."
        )
    return [tokenizer.bos_token_id]


def put_before(tokenizer: Any) -> list[int]:
    """The ids that a call of the tokenizer puts before those of a text; most often one, or none."""
    whole, plain = _probed(tokenizer, special=True), _probed(tokenizer, special=False)
    if not plain:
        return []
    places = (place for place in range(len(whole)) if whole[place : place + len(plain)] == plain)
    return whole[: next(places, 0)]


def _probed(tokenizer: Any, *, special: bool) -> list[int]:
    """The ids of PROBE."""
    # A call of transformers looks at more of the configuration, which may be damaged, than these ids depend on.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return list(backend.encode(PROBE, add_special_tokens=special).ids)
    with quiet():
        return list(tokenizer(PROBE, add_special_tokens=special)["input_ids"])


def remark_on_first(tokenizer: Any, asked: str, ids: list[int]) -> str | None:
    """What a reader of the numbers must know of how sequences begin; None where nothing was done."""
    if ids:
        how = "as the tokenizer begins a text" if asked == "auto" else "as `bos=always` asks"
        return f"Each sequence begins with {_shown(tokenizer, ids)}, {how}."
    if asked == "never" and (others := put_before(tokenizer)):
        return f"No sequence begins with {_shown(tokenizer, others)}, which the tokenizer puts before a text."
    return None


def _shown(tokenizer: Any, ids: list[int]) -> str:
    return " ".join(str(token) for token in tokenizer.convert_ids_to_tokens(ids))
