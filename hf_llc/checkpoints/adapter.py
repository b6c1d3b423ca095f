"""An adapter of peft as its files describe it: what kind it is, and the model that it is put on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_llc.checkpoints.files import ADAPTER_CONFIG
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import HfLlcError, NotFoundError, OfflineError, SettingsError, UnusableError
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import is_foreign, parse_model
from hf_llc.settings.bounds import shown
from hf_llc.settings.model import ModelSettings

KINDS = {
    "LORA": "LoRA",
    "LOHA": "LoHa",
    "LOKR": "LoKr",
    "IA3": "(IA)³",
    "TRAINABLE_TOKENS": "trainable tokens",
}
"""Kinds of adapters that are loaded, by their name in adapter_config.json."""
PROMPTS = {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"}
"""Kinds that put trained tokens before a text and leave the model's weights alone."""
TASK_TYPES = {"CAUSAL_LM": "text-generation", "SEQ_CLS": "text-classification"}
"""Tasks by peft's names for them, as far as there is a task here."""
UNSUPPORTED = {
    "alora_invocation_tokens": "works on the tokens after a certain phrase only",
    "arrow_config": "routes between adapters",
    "kasa_config": "changes the weights of its base",
    "layer_replication": "repeats layers of its base",
    "megatron_config": "is for Megatron's layers",
    "monteclora_config": "draws its weights at random",
    "use_bdlora": "is for serving in blocks",
    "use_qalora": "is for quantised weights",
    "velora_config": "has an approximate gradient",
}
"""Settings of LoRA whose loss or gradient would be another one than that of the weights, each with the reason."""
CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""How initialisations of LoRA are called that change the weights of the base."""
MERGE = "merge it into its base (`merge_and_unload` of peft), save the whole and name that"


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What an adapter_config.json says that decides whether and on what it is loaded.

    Attributes:
        kind: its name in KINDS. base, revision: of the base model, None if it is not named. task: peft's name; None if
            it has none. values: all of the file.
    """

    kind: str
    base: str | None
    revision: str | None
    task: str | None
    values: Mapping[str, Any]


def read_adapter_config(source: ModelSource) -> AdapterConfig:
    """The adapter_config.json of an adapter on this disk.

    Raises:
        UnusableError: it cannot be read, or is one of an adapter that is not supported.
    """
    assert source.path is not None
    path = source.path / (source.subfolder or "") / ADAPTER_CONFIG
    values = _content(source.id, path)
    kind = values.get("peft_type")
    if isinstance(kind, str) and kind in PROMPTS:
        raise UnusableError(
            f"{source.id} is a prompt that was trained ({kind}), not a change of weights, and an LLC of it is not "
            "defined here; name an adapter of weights, such as LoRA."
        )
    if not isinstance(kind, str) or kind not in KINDS:
        raise UnusableError(
            f"{source.id} is an adapter of the kind {shown(kind)} (peft_type), which is not supported: "
            f"{', '.join(KINDS.values())} are; {MERGE}."
        )
    for name, reason in UNSUPPORTED.items():
        if values.get(name):
            raise UnusableError(f"{source.id} is a LoRA that {reason} ({name}), which is not supported.")
    if values.get("use_dora") and values.get("lora_bias"):
        raise UnusableError(f"{source.id} is a DoRA with lora_bias, which is not supported: {MERGE}.")
    start = values.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGING):
        raise UnusableError(
            f"{source.id} changes the weights of its base when it is loaded (init_lora_weights = {shown(start)}), "
            "which is not supported; save it as a plain LoRA (`path_initial_model_for_weight_conversion` of peft), or "
            f"{MERGE}."
        )
    return AdapterConfig(
        kind=kind,
        base=_text(source.id, values, "base_model_name_or_path"),
        revision=_text(source.id, values, "revision"),
        task=_text(source.id, values, "task_type"),
        values=values,
    )


def with_base(source: ModelSource, asked: str | None, find: Callable[[ModelSettings], ModelSource]) -> ModelSource:
    """The adapter with the model that it is put on, pinned.

    Args:
        asked: the base that the user named, as ModelSettings takes a model; None takes that of adapter_config.json.
        find: finds the checkpoint of other settings.

    Raises:
        HfLlcError: the base cannot be found or read, or is itself an adapter; the message names both.
        SettingsError: peft is not installed.
    """
    config = read_adapter_config(source)
    if find_spec("peft") is None:
        raise SettingsError(
            f"{source.id} is an adapter, and peft, which loads it, is not installed: pip install 'hf-llc[peft]'"
        )
    name = asked or config.base
    if name is None:
        raise UnusableError(
            f"{source.id} does not say which model it is put on (base_model_name_or_path in its {ADAPTER_CONFIG}); "
            "name it with `base_model`."
        )
    try:
        base = find(_base_settings(name, None if asked else config.revision, source.trust_remote_code))
    except HfLlcError as error:
        wrong_name = isinstance(error, NotFoundError | OfflineError | SettingsError) and not asked
        hint = " If it is elsewhere, name it with `base_model`." if wrong_name else ""
        whose = "given as `base_model`" if asked else f"of its {ADAPTER_CONFIG}"
        # The classes of errors take a message alone.
        raise type(error)(f"{source.id} is an adapter for {name} ({whose}): {error}{hint}") from error
    if base.adapter or base.gguf_file is not None:
        kind = "itself an adapter" if base.adapter else "a GGUF file"
        raise UnusableError(
            f"{source.id} is an adapter for {base.id}, which is {kind}; merge or convert that into a whole model, and "
            "name it with `base_model`."
        )
    return replace(source, base=base)


def without_base(settings: ModelSettings) -> None:
    """Raise SettingsError if a base was named for a checkpoint that is a whole model."""
    if settings.base_model is not None:
        raise SettingsError(
            f"{settings.model} is a whole model, not an adapter, and has no base; leave out `base_model`."
        )


def _base_settings(name: str, revision: str | None, trust: bool) -> ModelSettings:
    local = not is_foreign(name) and parse_model(name, None, endpoint()).path is not None
    return ModelSettings(model=name, revision=None if local else revision, trust_remote_code=trust)


def _content(name: str, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise UnusableError(f"{ADAPTER_CONFIG} of {name} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"{ADAPTER_CONFIG} of {name} is not valid JSON; save the adapter again.") from error
    if not isinstance(values, dict):
        raise UnusableError(f"{ADAPTER_CONFIG} of {name} holds no object; save the adapter again.")
    return values


def _text(source: str, values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise UnusableError(f"{source}: {name} in its {ADAPTER_CONFIG} must be a string, got {shown(value)}.")
    return value or None
