"""Conversations as datasets have them: messages of `role` and `content`, or of `from` and `value` (ShareGPT)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hf_llc.errors import UnusableError
from hf_llc.settings.bounds import shown

Message = dict[str, Any]

ASSISTANT = "assistant"
SHAREGPT = {"human": "user", "user": "user", "gpt": ASSISTANT, "assistant": ASSISTANT, "system": "system"}
"""Roles by the names that ShareGPT has for them."""


def messages_of(value: Any, place: str) -> list[Message]:
    """The messages of a conversation, without keys that are null, which is how Arrow writes missing ones.

    Args:
        place: where it is, for messages of errors: `Row 3 of data.jsonl, column messages`.

    Raises:
        UnusableError: it is no list of messages, or a message has no role or no text.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _of_json(value)
    if isinstance(value, Mapping):  # one list for each key, as older versions of `datasets` have it
        value = _rows_of(value)
    if not isinstance(value, list | tuple):
        raise UnusableError(f"{place}: a list of messages is needed, got {shown(value)}.")
    return [_message(each, f"{place}, message {number}") for number, each in enumerate(value, 1)]


def tools_of(value: Any, place: str) -> list[dict[str, Any]] | None:
    """The tools that a conversation may use, as JSON schemas; None if there are none.

    Raises:
        UnusableError: they are neither a list of mappings nor the JSON of one.
    """
    if isinstance(value, str):
        value = _of_json(value) if value.strip() else None
    if value is None or value == []:
        return None
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise UnusableError(f"{place}: tools must be a list of JSON schemas, got {shown(value)}.")
    return [_without_null(each) for each in value]


def _of_json(text: str) -> Any:
    """What a text of JSON says; the text itself if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _rows_of(columns: Mapping[str, Any]) -> Any:
    lists = {key: each for key, each in columns.items() if isinstance(each, list)}
    if not lists or len(lists) < len(columns) or len({len(each) for each in lists.values()}) != 1:
        return columns
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _message(value: Any, place: str) -> Message:
    if not isinstance(value, Mapping):
        raise UnusableError(f"{place}: a mapping with role and content is needed, got {shown(value)}.")
    message: Message = _without_null(value)
    if "role" not in message and "from" in message:
        role, content = message.pop("from"), message.pop("value", None)
        if role not in SHAREGPT:
            raise UnusableError(f"{place} is from {shown(role)}; {', '.join(SHAREGPT)} are known.")
        message = {"role": SHAREGPT[role], **({} if content is None else {"content": content}), **message}
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise UnusableError(f"{place}: role must be a string that is not empty, got {shown(role)}.")
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise UnusableError(f"{place} of the role {role} has no content.")
    if isinstance(content, list):
        _refuse_other_parts(content, place)
    elif content is not None and not isinstance(content, str):
        raise UnusableError(f"{place}: content must be a string, got {shown(content)}.")
    return message


def _refuse_other_parts(parts: Sequence[Any], place: str) -> None:
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise UnusableError(f"{place}: content must be text, got a part of the type {shown(kind)}.")


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_null(each) for key, each in value.items() if each is not None}
    return [_without_null(each) for each in value] if isinstance(value, list | tuple) else value
