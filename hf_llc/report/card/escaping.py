"""Pieces of a card that hold words from outside: none of them can become Markdown, HTML, YAML or a shell command."""

import html
import io
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from hf_llc.errors import one_line
from hf_llc.results.curve import Point
from hf_llc.results.estimate import DatasetRecord, Estimate, pinned_name
from hf_llc.settings.data import SEPARATOR, DataSettings
from hf_llc.settings.execution import ExecutionSettings
from hf_llc.settings.file import known_settings
from hf_llc.settings.option import settings_in
from hf_llc.settings.posterior import as_in_earlier, has_length, of_no_use
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings

_MARKDOWN = re.compile(r"([\\`*_\[\]|~#$!{}])")
_AUTOLINK = re.compile(r":(?=//)|@|(?<=www)\.", re.IGNORECASE)
"""The characters that make readers of GitHub's Markdown see a web or mail address in plain words."""
# Readers of YAML 1.1 and 1.2 agree on these words without quotes, and on nothing else that is let through here.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z_/.-]*[A-Za-z][A-Za-z0-9_/.-]*")
_NOT_WORDS = {"yes", "no", "on", "off", "true", "false", "null"}

USED_BY_MEASURES = {"seed", "dtype", "batch_norm"}
"""Settings of the sampler that measures beside λ̂ depend on as well."""


class Verbatim(str):
    """Text that a template may write as it is."""


def escaped(value: object) -> object:
    """What a template writes for `value`: text in one line and without any mark-up, Verbatim as it is."""
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    plain = _MARKDOWN.sub(r"\\\1", html.escape(one_line(value), quote=False))
    return _AUTOLINK.sub(lambda match: f"&#{ord(match.group())};", plain)


def code_block(text: str, language: str) -> Verbatim:
    """A fenced block that nothing in `text` can close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return Verbatim(f"{fence}{language}\n{text}\n{fence}")


def front_matter(values: Mapping[str, Any]) -> Verbatim:
    """The values as a YAML document between `---` lines, the same for readers of YAML 1.1 and 1.2."""
    return Verbatim(f"---\n{yaml_text(values)}---")


def yaml_text(values: Any, *, flow: bool = False) -> str:
    """The values as YAML, the same for readers of YAML 1.1 and 1.2: in lines, or in `flow` style on one."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _CardRepresenter
    yaml.default_flow_style = flow
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = sys.maxsize
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()


class _CardRepresenter(SafeRepresenter):
    """Quotes every string that is not a plain word, and writes exponents as YAML 1.1 needs them (1.0e-05)."""

    def ignore_aliases(self, data: Any) -> bool:
        """What stands in two places is written in both."""
        return True


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


def is_local(estimate: Estimate) -> bool:
    """True if the model is a local folder or file, whose path must not be published."""
    return estimate.sha.startswith("sha256:")


def is_local_base(estimate: Estimate) -> bool:
    """True if the base of an adapter is a local folder, whose path must not be published."""
    return (estimate.base_sha or "").startswith("sha256:")


def is_local_text(estimate: Estimate) -> bool:
    """True if the text is a folder or file of the user's own."""
    return estimate.dataset.is_local


def dataset_name(estimate: Estimate) -> str:
    """The Hub id of the text, or its file name."""
    return SEPARATOR.join(_name_of(*part) for part in estimate.dataset.parts)


def _name_of(id_: str, revision: str) -> str:
    return Path(id_).name if revision.startswith("sha256:") else id_


def short_revision(estimate: Estimate) -> str:
    """The first twelve digits of the text's revision."""
    return SEPARATOR.join(revision.removeprefix("sha256:")[:12] for _, revision in estimate.dataset.parts)


def with_error(value: float | None, error: float | None) -> str:
    """`value ± error`, the error to two digits; `no number` if there is none."""
    if value is None or error is None:
        return "no number"
    if not 0 < error < math.inf:
        return f"{value:.6g} ± {error:g}"
    shown, uncertain = rounded(value, error)
    places = max(0, _places(error))
    return f"{shown:.{places}f} ± {uncertain:.{places}f}"


def rounded(value: float | None, error: float | None) -> tuple[float | None, float | None]:
    """Value and error to the second digit of the error; as they are where there is no error above 0."""
    if value is None or error is None or not 0 < error < math.inf:
        return value, error
    places = _places(error)
    return round(value, places), round(error, places)


def _places(error: float) -> int:
    """The decimal place of the second digit of an error after rounding: 1 for 1.2, −1 for 120."""
    return 1 - int(f"{error:.1e}".partition("e")[2])


def command(model: str, points: Sequence[Point]) -> str:
    """The shell command that makes these numbers again with the very settings."""
    last = last_estimate(points)
    d = last.dataset
    beside = _measure_names(points)
    if len(points) > 1 or beside:
        arguments = ["hf-llc", "scan", model, "--revisions", _chosen(points)]
    else:
        arguments = ["hf-llc", "estimate", model, *([] if is_local(last) else ["--revision", last.sha])]
        arguments += ["--subfolder", last.subfolder] if last.subfolder is not None else []
    arguments += ["--base-model", _base(last)] if last.base_model is not None else []
    arguments += [*_data_arguments(d), "--max-sequences", str(last.settings.n)]
    for name, value in _repeated(last.settings).items():
        if name == "params":
            arguments += [word for pattern in value.split(",") if pattern for word in ("--params", pattern)]
        else:
            arguments += ["--" + name.replace("_", "-"), value if isinstance(value, str) else repr(value)]
    unchecked = last.diagnostics.step_size_stderr is None and not last.settings.by_draws
    arguments += ["--no-checks"] if unchecked else []
    arguments += ["--cross-check", str(last.cross_check["method"])] if last.cross_check is not None else []
    return _joined([*arguments, *(["--with", ",".join(beside)] if beside else [])])


def measures_command(model: str, points: Sequence[Point], asked: Mapping[str, Any]) -> str:
    """The shell command that makes measures without λ̂ again.

    Args:
        asked: what was asked for, by the names of the fields of `DataSettings` and `SamplerSettings`.
    """
    arguments = ["hf-llc", "scan", model, "--revisions", ",".join(point.revision for point in points)]
    used = [each for each in settings_in(SamplerSettings) if each.field in USED_BY_MEASURES]
    for each in [*settings_in(DataSettings), *used]:
        value = asked.get(each.field)
        if isinstance(value, str | int) and value != each.default:
            is_path = each.field == "dataset" and Path(str(value)).expanduser().exists()
            arguments += [each.flag, Path(str(value)).expanduser().name if is_path else str(value)]
    return _joined([*arguments, "--with", ",".join(_measure_names(points)), "--without", "llc"])


def _measure_names(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point.measures))


def _joined(arguments: Sequence[str]) -> str:
    # Quotes closed and opened again: the same word, but no comment marker in the card's source.
    return shlex.join(one_line(word) for word in arguments).replace("<!--", "<!-''-")


def _base(estimate: Estimate) -> str:
    """The base of an adapter, pinned as far as it can be."""
    name = estimate.base_model or ""
    return Path(name).name if is_local_base(estimate) else f"{name}@{estimate.base_sha}"


def _data_arguments(d: DatasetRecord) -> list[str]:
    """The options that name the data."""
    if len(d.parts) == 1:
        arguments = ["--dataset", _name_of(d.id, d.revision)]
    else:
        arguments = [word for part in d.parts for word in ("--dataset", pinned_name(_name_of(*part), part[1]))]
    arguments += ["--dataset-config", d.config] if d.config is not None else []
    arguments += [] if len(d.parts) > 1 or d.is_local else ["--dataset-revision", d.revision]
    arguments += ["--split", d.split]
    # Several datasets that have no column in common are each read by their own.
    arguments += [] if SEPARATOR in d.text_column else ["--text-column", d.text_column]
    arguments += ["--label-column", d.label_column] if d.label_column is not None else []
    arguments += ["--task", d.task] if d.task != DatasetRecord.task else []
    # Labels are in the file of token ids.
    arguments += [] if d.loss_on in {None, "labels"} else ["--loss-on", str(d.loss_on)]
    return arguments + ([] if d.bos == "auto" else ["--bos", d.bos])


def _repeated(settings: ResolvedSettings) -> dict[str, Any]:
    """The settings that have to be given for the number to be made again; rounding depends on threads on a CPU only."""
    used = settings.to_dict()
    machine = {each.name: each for each in settings_in(ExecutionSettings)}
    left_out = {name for name, each in machine.items() if used[name] == each.default or not each.option.published}
    left_out -= {"threads"} if settings.device == "cpu" else set()
    left_out |= {"context_length"} if not has_length(used) else set()
    left_out |= {*of_no_use(used), *as_in_earlier(used), *(used.keys() - known_settings().keys() - {"device"})}
    return {name: value for name, value in used.items() if value is not None and name not in left_out}


def _chosen(points: Sequence[Point]) -> str:
    """The `--revisions` that choose these points: by name, and where they are no revisions by where they live."""
    names = [point.revision for point in points]
    listed = ",".join(names)
    own = [(point, point.estimate) for point in points if point.estimate is not None and point.duplicate_of is None]
    local = is_local(last_estimate(points))
    # Of a folder both are the name of the checkpoint's folder, once paths of this machine are taken out.
    if not local and any(estimate.model == point.revision for point, estimate in own):
        return f"repos:{listed}"
    one_commit = len(own) > 1 and len({point.sha for point, _ in own}) == 1
    if any("/" in name for name in names) if local else one_commit:
        parts = zip(*(name.split("/") for name in names), strict=False)
        glob = "/".join(part[0] if len(set(part)) == 1 else f"{_beginning(part)}*" for part in parts)
        return f"subfolder:{glob},{listed}"
    return listed


def _beginning(texts: Sequence[str]) -> str:
    """What all of them begin with."""
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def last_estimate(points: Sequence[Point]) -> Estimate:
    """The last record of a curve, which has one at least."""
    return [point.estimate for point in points if point.estimate is not None][-1]
