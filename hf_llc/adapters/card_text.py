"""Pieces of a card that hold words from outside: none of them can become Markdown, HTML, YAML or a shell command."""

import html
import io
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from hf_llc.results import Estimate

_MARKDOWN = re.compile(r"([\\`*_\[\]|~#$!{}])")
# Readers of YAML 1.1 and 1.2 agree on these words without quotes, and on nothing else that is let through here.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z_/.-]*[A-Za-z][A-Za-z0-9_/.-]*")
_NO_OPTION = {"n", "dtype", "micro_batch_size"}
_NOT_WORDS = {"yes", "no", "on", "off", "true", "false", "null"}


class Verbatim(str):
    """Text that a template may write as it is."""


def escaped(value: object) -> object:
    """What a template writes for `value`: text in one line and without any mark-up, Verbatim as it is."""
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line(value), quote=False)).replace("://", "&#58;//")


def one_line(text: str) -> str:
    """The text with every run of white space and control characters as one space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def code_block(text: str, language: str) -> Verbatim:
    """A fenced block that nothing in `text` can close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return Verbatim(f"{fence}{language}\n{text}\n{fence}")


def front_matter(values: Mapping[str, Any]) -> Verbatim:
    """The values as a YAML document between `---` lines, the same for readers of YAML 1.1 and 1.2."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _CardRepresenter
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(dict(values), stream)
    return Verbatim(f"---\n{stream.getvalue()}---")


class _CardRepresenter(SafeRepresenter):
    """Quotes every string that is not a plain word, and writes exponents as YAML 1.1 needs them (1.0e-05)."""


def _represent_text(representer: SafeRepresenter, value: str) -> ScalarNode:
    text = one_line(value)
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _NOT_WORDS
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


def _represent_number(representer: SafeRepresenter, value: float) -> ScalarNode:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return representer.represent_scalar("tag:yaml.org,2002:float", text)


_CardRepresenter.add_representer(str, _represent_text)
_CardRepresenter.add_representer(float, _represent_number)


def is_local(found: Estimate) -> bool:
    """True if the model is a folder or file of the user's own, whose path nobody else should see."""
    return found.sha.startswith("sha256:")


def model_name(found: Estimate) -> str:
    """`org/name` on the Hub, the last part of a local path."""
    return Path(found.model).name if is_local(found) else found.model


def revision_name(found: Estimate) -> str:
    """What tells this checkpoint from others of the model: its revision, or its folder's name."""
    return Path(found.model).name if is_local(found) else found.revision or "main"


def dataset_name(found: Estimate) -> str:
    """The Hub id of the text, or its file name."""
    local = found.dataset.revision.startswith("sha256:")
    return Path(found.dataset.id).name if local else found.dataset.id


def with_error(found: Estimate) -> str:
    """`value ± error`, the error to two digits; `no number` if there is none."""
    if found.llc is None or found.stderr is None:
        return "no number"
    if found.stderr <= 0:
        return f"{found.llc:.6g} ± {found.stderr:g}"
    places = max(0, 1 - int(f"{found.stderr:e}".partition("e")[2]))
    return f"{found.llc:.{places}f} ± {found.stderr:.{places}f}"


def command(found: Estimate) -> str:
    """The shell command that estimates this checkpoint again with the very settings."""
    d = found.dataset
    words = ["hf-llc", "estimate", model_name(found)]
    words += [] if is_local(found) else ["--revision", found.sha]
    words += ["--dataset", dataset_name(found)]
    words += ["--dataset-config", d.config] if d.config is not None else []
    words += [] if d.revision.startswith("sha256:") else ["--dataset-revision", d.revision]
    words += ["--split", d.split, "--text-column", d.text_column, "--max-sequences", str(found.settings.n)]
    for name, value in found.settings.to_dict().items():
        if value is not None and name not in _NO_OPTION and not (name == "threads" and found.settings.device != "cpu"):
            words += ["--" + name.replace("_", "-"), value if isinstance(value, str) else repr(value)]
    words += ["--no-checks"] if found.diagnostics.step_size_stderr is None else []
    # Quotes closed and opened again: the same word, but no comment marker in the card's source.
    return shlex.join(one_line(word) for word in words).replace("<!--", "<!-''-")
