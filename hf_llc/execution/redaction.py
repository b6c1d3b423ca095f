"""Secrets taken out of what is written for people: of every library, in log lines, tracebacks and output.

A secret is known by its value (variables of the environment, files of the Hub's client, those that were added), or by
its place (the login in a URL, an Authorization header) or shape (a Hub token).
"""

import base64
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hf_llc.execution.distributed.secret import VARIABLE

HIDDEN = "<hidden>"
OURS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", VARIABLE)
OTHERS = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)$")
"""How variables are called that hold secrets of other programs."""
SHORTEST, SHORTEST_OF_OTHERS = 6, 12
"""Characters below which a value is no secret: it would stand in every other line."""
BEGINNING = 8
"""Characters by which a secret is looked for: half of it is hidden too, and less where the rest was cut off."""
CUT = re.compile(r"\s?(\.\.\.|…)")
PATTERNS = (
    (re.compile(r"\b(?:hf|api_org)_(?:(?:oauth|jwt)_)?[A-Za-z0-9]{20,}(?:\.[\w-]+)*"), HIDDEN),
    (re.compile(r"(?<=://)[^/\s:@'\"]+:[^/\s@'\"]+(?=@)"), HIDDEN),
    (re.compile(r"(?i)(?<=http://)[^/\s:@'\"]+(?=@)|(?<=https://)[^/\s:@'\"]+(?=@)"), HIDDEN),
    (re.compile(r"(?i)\b(bearer)\s+[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?i)(authorization['\"]?\W{1,6})(basic|token|key|digest)\s+[\w.~+/=-]{4,}"), rf"\1\2 {HIDDEN}"),
    (
        re.compile(r"(?i)([?&](?:access_|auth_)?(?:token|signature|x-amz-signature|x-amz-security-token)=)[^&\s'\"]+"),
        rf"\1{HIDDEN}",
    ),
)
_added: set[str] = set()


def add_secret(value: str | None) -> None:
    """Hides this value from now on."""
    if value and len(value) >= SHORTEST:
        _added.add(value)


def redacted(text: str) -> str:
    """The text with every secret that is known replaced by `<hidden>`, and what only looks like one too."""
    for value in sorted(_known(), key=len, reverse=True):
        text = _without(text, value)
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def watch_logs() -> None:
    """Remove secrets from every log record of this process from now on."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def clean_record(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make(*arguments, **options)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            return record  # arguments that do not fit; logging tells of that by itself
        clean = redacted(message)
        if clean != message:
            record.msg, record.args = clean, ()
        return record

    clean_record.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(clean_record)


def _without(text: str, value: str) -> str:
    beginning, parts, start = value[:BEGINNING], [], 0
    while (position := text.find(beginning, start)) >= 0:
        end = position + len(beginning)
        while end < len(text) and end - position < len(value) and text[end] == value[end - position]:
            end += 1
        whole = end - position == len(value) or end - position >= max(BEGINNING, (len(value) + 1) // 2)
        parts += [text[start:position], HIDDEN if whole or CUT.match(text, end) else text[position:end]]
        start = end
    return "".join([*parts, text[start:]]) if parts else text


def _known() -> set[str]:
    """Every secret, in each form in which libraries write it."""
    values = {value.strip() for value in [*_of_variables(), *_of_files(), *_added]}
    forms: set[str] = set()
    for value in values:
        content = os.fsencode(value)  # which a variable may have in another encoding than UTF-8
        forms |= {value, quote(content, safe=""), json.dumps(value)[1:-1], base64.b64encode(content).decode()}
    return {form for form in forms if len(form) >= SHORTEST}


def _of_variables() -> Iterator[str]:
    for name, value in os.environ.items():
        ours = name in OURS and len(value) >= SHORTEST
        if ours or (OTHERS.search(name) and len(value) >= SHORTEST_OF_OTHERS and value[0] not in "/~"):
            yield value


def _of_files() -> list[str]:
    """Tokens in the files of the Hub's client; read anew only when they have changed."""
    home = Path(
        os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    paths = (Path(os.environ.get("HF_TOKEN_PATH") or home / "token"), home / "stored_tokens")
    tokens: list[str] = []
    for path in paths:
        try:
            stamp = path.stat().st_mtime_ns
            if path not in _read or _read[path][0] != stamp:
                parts = re.split(r"[\s=]+", path.read_text(encoding="utf-8", errors="ignore"))
                _read[path] = (stamp, [part for part in parts if len(part) >= SHORTEST and part[0] != "["])
        except OSError:
            continue
        tokens += [token for token in _read[path][1] if token != "hf_token"]
    return tokens


_read: dict[Path, tuple[int, list[str]]] = {}
