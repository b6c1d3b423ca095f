"""The page `docs/reference/settings.md`: every field of the settings dataclasses, from the dataclasses themselves.

Default and range come from the field, option and meaning from the command line. Fields without an option have their
meaning in MEANINGS; EFFECTS says which settings do not change the number.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from importlib import import_module
from inspect import get_annotations
from typing import Any, get_args, get_origin, get_type_hints

from typer.main import get_command

from hf_llc.checkpoints.selection import Selection
from hf_llc.hub.publication import PublishSettings
from hf_llc.results.figures.axis_options import View
from hf_llc.sampling.gradients import GRADIENTS
from hf_llc.sampling.randomness import BATCHES
from hf_llc.sampling.samplers import AUTO, SAMPLERS
from hf_llc.scans.shard import Shard
from hf_llc.settings.bounds import Bounds, OneOf
from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.data import DataSettings
from hf_llc.settings.execution import ExecutionSettings
from hf_llc.settings.limits import LARGEST_INTEGER
from hf_llc.settings.machines import Machines
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.posterior import CHAIN_BATCH_SIZE, IMPORTANCE, PosteriorSettings
from hf_llc.settings.recipes import RecipeSettings
from hf_llc.settings.recording import RecordingSettings
from hf_llc.settings.sampler import CHAIN_DRAWS, SamplerSettings
from hf_llc.settings.stopping import TARGET_STDERR, StoppingSettings

NUMBER, ROUNDING, ERROR, NO = "yes", "by rounding", "its error", "no"


@dataclass(frozen=True)
class Section:
    """One dataclass of the page.

    Attributes:
        kind: the dataclass. commands: where its options are looked up, the first that has one wins. about: a sentence.
        options: names of parameters of the command line that differ from the field. effect: of fields that are not in
            EFFECTS.
    """

    kind: type[Any]
    commands: tuple[str, ...]
    about: str
    options: Mapping[str, str]
    effect: str


SECTIONS = (
    Section(ModelSettings, ("estimate",), "The checkpoint w*: `hf_llc.estimate(model=…)`.", {}, NUMBER),
    Section(
        DataSettings,
        ("estimate",),
        "The text that defines the empirical loss L_n. A settings file calls `config` and `revision` by the names of "
        "their options, `dataset_config` and `dataset_revision`.",
        {"config": "dataset_config", "revision": "dataset_revision"},
        NUMBER,
    ),
    Section(
        SamplerSettings,
        ("estimate",),
        "How the posterior is sampled: the fields of the classes below, as keyword arguments.",
        {},
        NUMBER,
    ),
    Section(PosteriorSettings, ("estimate",), "What decides the number.", {}, NUMBER),
    Section(StoppingSettings, ("estimate",), "When sampling ends, and what checks its number.", {}, ERROR),
    Section(ExecutionSettings, ("estimate",), "How the machine computes.", {}, ROUNDING),
    Section(RecordingSettings, ("estimate",), "What is written down at every draw beside the loss.", {}, NO),
    Section(RecipeSettings, ("estimate",), "Whose settings they are.", {}, NUMBER),
    Section(CalibrationSettings, ("calibrate",), "What a calibration is to reach.", {}, NO),
    Section(Selection, ("scan",), "Which checkpoints a scan reads: the parts of `--revisions`.", {}, NO),
    Section(Shard, ("scan",), "One part of a scan that is split over jobs.", {"index": "shard", "count": "shard"}, NO),
    Section(View, ("scan",), "The x axis of pictures.", {"scale": "x", "tokens": "x_tokens"}, NO),
    Section(PublishSettings, ("publish", "scan"), "Where a run is published.", {}, NO),
    Section(
        Machines,
        ("estimate",),
        "Several machines that share one run.",
        {
            "count": "num_machines", "rank": "machine_rank", "ip": "main_process_ip", "port": "main_process_port",
            "processes": "num_processes",
        },
        NO,
    ),
)  # fmt: skip
MEANINGS: Mapping[tuple[type[Any], str], str] = {
    (ModelSettings, "subfolder"): "Folder inside the repository or the local folder, as in `from_pretrained`.",
    (Selection, "terms"): "Names, globs, ranges and so on; each adds what it matches.",
    (Selection, "commits"): "A branch whose commits are the checkpoints: `commits:BRANCH`.",
    (Selection, "subfolder"): "A glob of folders that are the checkpoints: `subfolder:GLOB`.",
    (Selection, "repos"): "Repositories that are the checkpoints, by id or glob: `repos:GLOB`.",
    (Shard, "index"): "Which part, from 1: the 3 of `--shard 3/8`.",
    (Shard, "count"): "How many parts: the 8 of `--shard 3/8`.",
}
OPTIONS: Mapping[tuple[type[Any], str], str] = {
    (Selection, name): "--revisions" for name in ("terms", "commits", "subfolder", "repos")
}
EFFECTS: Mapping[tuple[type[Any], str], str] = {
    (ModelSettings, "trust_remote_code"): NO,
    (StoppingSettings, "cross_check"): NO,
}
CHOICES = {
    "sampler": (AUTO, IMPORTANCE, *SAMPLERS),
    "gradient": (AUTO, *GRADIENTS),
    "batches": (AUTO, *BATCHES),
}
OPEN = {
    "n_beta": "n / log n", "draws": f"{CHAIN_DRAWS} (chains)", "batch_size": f"{CHAIN_BATCH_SIZE} (chains)",
    "target_stderr": f"{TARGET_STDERR:g} (independent draws)", "context_length": "min(1024, the model's)",
}  # fmt: skip
"""What a field of SamplerSettings or DataSettings that is None stands for, where that is a constant."""


def settings_page(generated: str) -> str:
    """The page as Markdown; `generated` is its first line."""
    return "\n\n".join([generated, INTRODUCTION, *map(_section, SECTIONS)]) + "\n"


INTRODUCTION = """# Settings

Settings are frozen dataclasses; each checks its fields when it is made and raises `SettingsError` with the name of the
field, the rule and the value. On the command line every field has an option, in a settings file (`--settings FILE`) the
name of that option with underscores. *Automatic* means that the value is chosen from measurements or from the machine
unless it is given; the choice and its reason are printed and stored.

"Changes the number" says what happens to λ̂ at the same seed: **yes**, it is an estimate of another quantity or made
from other draws; **by rounding**, the same draws up to floating-point rounding; **its error**, more or fewer draws of
the same sequence; **no**."""


def _section(section: Section) -> str:
    own = get_annotations(section.kind)
    rows = [_row(section, field) for field in fields(section.kind) if field.name in own]
    header = "| field | default | range | option | changes the number | meaning |\n|---|---|---|---|---|---|"
    title = f"## `{section.kind.__name__}` {{ #{section.kind.__name__.lower()} }}"
    return "\n\n".join([title, section.about, *(["\n".join([header, *rows])] if rows else [])])


def _row(section: Section, field: Field[Any]) -> str:
    key = (section.kind, field.name)
    options, meaning = _option(section, field.name)
    cells = [
        f"`{field.name}`",
        _default(section.kind, field),
        _range(section.kind, field.name),
        f"`{OPTIONS.get(key, options)}`" if OPTIONS.get(key, options) else "",
        EFFECTS.get(key, section.effect),
        MEANINGS.get(key, meaning),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@cache
def _parameters(command: str) -> dict[str, Any]:
    group: Any = get_command(import_module("hf_llc.cli.app").app)
    return {parameter.name: parameter for parameter in group.commands[command].params}


def _option(section: Section, name: str) -> tuple[str, str]:
    """The spelling and the help of the option of a field; empty if it has none."""
    for command in section.commands:
        parameter = _parameters(command).get(section.options.get(name, name))
        if parameter is not None:
            spelling = parameter.opts[0] if parameter.param_type_name == "option" else name.upper()
            help_text = re.sub(r"\s*\(default: [^()]*(\([^()]*\)[^()]*)*\)", "", parameter.help or "")
            return spelling, help_text.replace("\\[", "[").replace("*", "\\*").replace("<", "&lt;")
    return "", ""


def _default(kind: type[Any], field: Field[Any]) -> str:
    if field.default is MISSING:
        return "required"
    value = field.default
    if value is None:
        constant = OPEN.get(field.name) if kind is DataSettings or issubclass(SamplerSettings, kind) else None
        return constant or ("*automatic*" if field.name in AUTOMATIC else "–")
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


AUTOMATIC = {"gamma", "lr", "burn_in_lr", "momentum", "burn_in", "micro_batch_size", "threads"}


def _range(kind: type[Any], name: str) -> str:
    """The rule of a field, as `≥ 2`."""
    hint = get_type_hints(kind, include_extras=True)[name]
    rule = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Bounds | OneOf)), None)
    if kind is PosteriorSettings and name in CHOICES:
        return ", ".join(f"`{choice}`" for choice in CHOICES[name])
    if isinstance(rule, OneOf):
        return ", ".join(f"`{choice}`" for choice in rule.choices)
    if rule is None:
        return _type_name(hint)
    low = f"≥ {rule.low:g}" if rule.low is not None else f"> {rule.above:g}" if rule.above is not None else ""
    high = f"< {rule.below:g}" if rule.below is not None else f"≤ {_power(rule.high)}" if rule.high is not None else ""
    return ("0 or " if rule.or_zero else "") + ", ".join(part for part in (low, high) if part)


def _power(high: float) -> str:
    """An upper bound, as a power of ten or of two where it is a large one."""
    if high == LARGEST_INTEGER:
        return "2⁶³ − 1"
    exponent = round(math.log10(high))
    return f"10{str(exponent).translate(SUPERSCRIPTS)}" if high >= 1e5 and high == 10.0**exponent else f"{high:g}"


SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _type_name(hint: Any) -> str:
    names = {str: "text", bool: "yes or no", int: "integer", float: "number"}
    if get_origin(hint) is tuple:
        return "list of texts"
    members = [names[member] for member in get_args(hint) or (hint,) if member in names]
    return " or ".join(members)
