"""Settings from Python: scalars of NumPy and torch are their values, and what makes no sense is named with its rule."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch

import hf_llc
from hf_llc import (
    CalibrationSettings,
    DataSettings,
    ModelSettings,
    PublishSettings,
    SamplerSettings,
    Selection,
    Shard,
    Tracking,
    View,
)
from hf_llc.errors import HfLlcError, SettingsError
from hf_llc.settings.bounds import Bounds, checked, checked_arguments, shown

SETTINGS: list[tuple[type[Any], dict[str, Any]]] = [
    (ModelSettings, {"model": "org/name"}),
    (DataSettings, {}),
    (SamplerSettings, {}),
    *[(each, {}) for each in SamplerSettings.__bases__],
    (CalibrationSettings, {}),
    (PublishSettings, {}),
    (View, {}),
    (Shard, {}),
    (Selection, {}),
]
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 4.0, -3.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 10**12, 2**70, 10**5000,
    "", " ", "4", "1e-4", "auto", "a\0b", b"4", 3 + 0j, [], [1], ["a"], ("a", None), {"a": 1}, {"a"}, Path("a"),
    object(), int, SamplerSettings, np.int64(8), np.float32(0.25), np.float64("nan"), np.bool_(True), np.str_("auto"),
    np.array(8), np.array([8]), np.array(["a"]), np.datetime64("2020-01-01"), np.longdouble(0.5), torch.tensor(8),
    torch.tensor([8.0]), torch.tensor(8.0, device="meta"), torch.tensor(0.5, dtype=torch.bfloat16), lambda: 3,
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("draws", np.int64(8), 8),
        ("draws", np.uint8(8), 8),
        ("draws", np.array(8), 8),
        ("draws", torch.tensor(8), 8),
        ("gamma", np.float32(0.1), float(np.float32(0.1))),
        ("gamma", np.float64(0.1), 0.1),
        ("gamma", np.longdouble(0.5), 0.5),
        ("gamma", torch.tensor(0.5, requires_grad=True), 0.5),
        ("gamma", torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        ("gamma", np.int64(300), 300.0),
        ("gamma", 300, 300.0),
        ("checks", np.bool_(False), False),
        ("checks", torch.tensor(False), False),
        ("sampler", np.str_("sgld"), "sgld"),
        ("params", ["*.a", np.str_("b")], ("*.a", "b")),
        ("params", "*.a", ("*.a",)),
        ("seed", 2**63 - 1, 2**63 - 1),
    ],
    ids=shown,
)
def test_a_scalar_is_its_python_value(name: str, value: Any, plain: Any) -> None:
    with_it, by_hand = SamplerSettings(**{name: value}), SamplerSettings(**{name: plain})
    assert with_it == by_hand
    # The key of a run is a hash of the JSON of its settings: 300 and 300.0 would be two runs.
    assert repr(getattr(with_it, name)) == repr(plain)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gamma", -3.0, "gamma must be ≥ 0, got -3.0"),
        ("gamma", -3, "gamma must be ≥ 0, got -3.0"),
        ("gamma", np.float32(-3), "gamma must be ≥ 0, got -3.0"),
        ("gamma", 1e-30, "gamma must be 0 or ≥ 1e-12, got 1e-30"),
        ("gamma", 1e308, r"gamma must be ≤ 1e\+15, got 1e\+308"),
        ("gamma", "300", "gamma must be a number, got '300'"),
        ("gamma", True, "gamma must be a number, got True"),
        ("gamma", 10**400, r"gamma must be a finite number, got about 10\^400"),
        ("n_beta", 1e308, r"n_beta must be ≤ 1e\+15, got 1e\+308"),
        ("n_beta", np.array([3.0]), "n_beta must be a number, got a ndarray"),
        ("lr", 0, "lr must be > 0, got 0.0"),
        ("lr", math.nan, "lr must be a finite number, got nan"),
        ("momentum", 1, "momentum must be < 1, got 1.0"),
        ("chains", 1, "chains must be ≥ 2, got 1: one chain"),
        ("thin", None, "thin must be a whole number, got None"),
        ("chains", "4", "chains must be a whole number, got '4'"),
        ("chains", 4.0, "chains must be a whole number, got 4.0"),
        ("draws", 10**12, "draws must be ≤ 1000000000, got 1000000000000"),
        ("thin", 10**8, "draws times thin plus burn_in must be ≤ 1000000000"),
        ("seed", 2**70, r"seed must be ≤ 9223372036854775807, got about 10\^21"),
        ("seed", 10**5000, r"seed must be ≤ .*, got about 10\^5000"),
        ("threads", 10**6, "threads must be ≤ 4096, got 1000000"),
        ("checks", 1, "checks must be True or False, got 1"),
        ("params", [1], "params must be a string, got 1"),
        ("params", 1, "params must be a list of strings, got 1"),
        ("start", "here", "start must be one of auto, anchor, prior, both, laplace, got 'here'"),
        ("sampler", "", "sampler must be a string that is not empty, got ''"),
    ],
    ids=shown,
)
def test_what_makes_no_sense_is_named_with_its_rule_and_value(name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{message}"):
        SamplerSettings(**{name: value})


@pytest.mark.parametrize(("kind", "needed"), SETTINGS, ids=[kind.__name__ for kind, _ in SETTINGS])
def test_no_value_of_any_field_of_any_settings_is_a_bare_error(kind: type[Any], needed: dict[str, Any]) -> None:
    refusals = []
    for field in fields(kind):
        for value in HOSTILE:
            try:
                accepted = kind(**{**needed, field.name: value})
            except SettingsError as error:
                refusals.append(str(error))
                continue
            assert kind(**asdict(accepted)) == accepted
            plain = getattr(accepted, field.name)
            assert plain is None or type(plain) in (bool, int, float, str, tuple), (field.name, shown(value))
    assert refusals
    assert not [line for line in refusals if "\n" in line or len(line) > 250]


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Shard, {"index": 3, "count": 2}, "index must be ≤ count = 2, got 3"),
        (Shard, {"index": 0}, "index must be ≥ 1, got 0"),
        (Selection, {"every": 0}, "every must be ≥ 1, got 0"),
        (Selection, {"terms": ()}, "terms must not be empty"),
        (Selection, {"terms": ["re:("]}, "not a regular expression"),
        (Selection, {"terms": ["re:a{99999999999}"]}, "not a regular expression"),
        (Selection, {"terms": ["log:" + "9" * 5000]}, "takes a whole number"),
        (Selection, {"terms": ["9" * 5000 + ".."]}, "a step has at most 18 digits"),
        (Selection, {"subfolder": "../x"}, "a glob of folders inside"),
        (View, {"scale": "square"}, "scale must be one of auto, log, linear, got 'square'"),
        (DataSettings, {"max_sequences": -1}, "max_sequences must be ≥ 0, got -1"),
        (DataSettings, {"dataset": None}, "dataset must be a string or a list of strings, got None"),
        (DataSettings, {"text_column": "a\0"}, "without null characters"),
        (ModelSettings, {"model": "m", "subfolder": "../../base"}, "without '..', got '../../base'"),
        (ModelSettings, {"model": "m", "subfolder": "a/../../b"}, "a folder inside the model's own"),
        (ModelSettings, {"model": "m", "subfolder": "a\\..\\..\\b"}, "a folder inside the model's own"),
        (ModelSettings, {"model": "m", "subfolder": "/etc"}, "a folder inside the model's own"),
        (ModelSettings, {"model": "m", "subfolder": "C:\\models"}, "a folder inside the model's own"),
        (ModelSettings, {"model": 3}, "model must be a string, got 3"),
        (CalibrationSettings, {"target_stderr": "2%"}, "target_stderr must be a number, got '2%'"),
        (PublishSettings, {"headline": [3]}, "headline must be a string, got 3"),
    ],
    ids=shown,
)
def test_every_kind_of_settings_has_its_bounds(kind: type[Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        kind(**given)
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["ck", "ck/", "./ck", "a/b", "..a", "a..b/c", "step=1"])
def test_a_subfolder_inside_is_taken_as_it_is(name: str) -> None:
    assert ModelSettings(model="m", subfolder=name).subfolder == name


def test_paths_and_lists_are_taken_for_strings_and_tuples() -> None:
    assert ModelSettings(model=Path("a/b"), subfolder="") == ModelSettings(model="a/b")  # type: ignore[arg-type]
    assert DataSettings(dataset=Path("t.txt")).dataset == "t.txt"  # type: ignore[arg-type]
    assert Selection(terms=["log:3"], repos="org/a") == Selection(terms=("log:3",), repos=("org/a",))  # type: ignore[arg-type]
    assert SamplerSettings(params={"b", "a"}).params == ("a", "b")  # type: ignore[arg-type]


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (
        hf_llc.estimate,
        (3,),
        {},
        "ModelSettings, or a transformers or peft model, got an int",
    ),
    (hf_llc.estimate, (None,), {}, "model must be"),
    (hf_llc.estimate, ("m", SamplerSettings()), {}, "data must be a Hub id, a file, DataSettings"),
    (hf_llc.estimate, ("m", {"dataset": "x"}), {}, "or a tuple of inputs and targets, got a dict"),
    (hf_llc.estimate, ("m",), {"device": 0}, "device must be a string, got 0"),
    (hf_llc.estimate, ("m",), {"output_dir": 3}, "output_dir must be a path, got 3"),
    (hf_llc.estimate, ("m",), {"observer": print}, "observer must be an Observer, got a builtin_function_or_method"),
    (hf_llc.scan, ("m",), {"processes": 0}, "processes must be ≥ 1, got 0"),
    (hf_llc.scan, ("m",), {"max_disk": "20GB"}, "max_disk must be a whole number, got '20GB'"),
    (hf_llc.scan, ("m",), {"selection": "log:3"}, "selection must be a Selection, got 'log:3'"),
    (hf_llc.scan, ("m",), {"steps": {"a": "1"}}, "steps must be a whole number, got '1'"),
    (hf_llc.scan, ("m",), {"shard": "1/2"}, "shard must be a Shard, got '1/2'"),
    (hf_llc.scan, ("m",), {"on_point": 3}, "on_point must be a function, got 3"),
    (hf_llc.calibrate, ("m",), {"wanted": 0.02}, "wanted must be a CalibrationSettings, got 0.02"),
    (hf_llc.compare, ([1, 2], "out"), {}, "runs[0] must be a Curve, an Estimate, a folder or hf://…, got 1"),
    (hf_llc.compare, (["a", "b"], ""), {}, "folder must be a path, got ''"),
    (hf_llc.merge, ([None], "out"), {}, "folders must be a path, got None"),
    (hf_llc.publish, (3,), {}, "run must be"),
    (hf_llc.publish, ("run", {"repo": "a/b"}), {}, "settings must be a PublishSettings, got a dict"),
    (hf_llc.find_checkpoints, ("m",), {"tokens_per_step": 0}, "tokens_per_step must be ≥ 1, got 0"),
    (hf_llc.find_checkpoints, ("",), {}, "model must be a string that is not empty"),
    (hf_llc.find_checkpoints, ("m",), {"trust_remote_code": "no"}, "trust_remote_code must be True or False, got 'no'"),
    (Tracking, (3,), {}, "names must be a list of strings, got 3"),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "message"), CALLS, ids=shown)
def test_arguments_of_functions_are_held_to_the_same_rules(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        function(*args, **kwargs)
    assert message in str(raised.value)


class Listener:
    """No Observer, but it has all that one is asked for."""

    profile = None

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda *args: nullcontext()


def test_arguments_arrive_in_the_types_of_their_annotations() -> None:

    @checked_arguments
    def call(folder: Path, count: Annotated[int | None, Bounds(low=1)] = 3, *, observer: Any = None) -> tuple[Any, ...]:
        return folder, count, observer

    assert call("a") == (Path("a"), 3, None)  # type: ignore[arg-type]
    assert call(Path("a"), np.int64(4), observer=3) == (Path("a"), 4, 3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="call has no argument observe; did you mean observer"):
        call("a", observe=1)  # type: ignore[arg-type, call-arg]
    with pytest.raises(HfLlcError, match="no-such"):
        hf_llc.estimate(Path("no-such/model"), observer=Listener())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a\x1b[31m\u202eb\n", r"'a\x1b[31m\u202eb\n'"),
        ("a" * 10**6, "'" + "a" * 58 + "…"),
        (10**5000, "about 10^5000"),
        (-(10**30), "about -10^30"),
        (object(), "an object"),
    ],
    ids=shown,
)
def test_a_refused_value_is_shown_short_and_on_one_line(value: Any, message: str) -> None:
    assert shown(value) == message


def test_a_value_without_a_number_is_refused() -> None:
    with pytest.raises(SettingsError, match="x must be a number, got a Tensor"):
        checked("x", torch.tensor(8.0, device="meta"), float)


def test_the_start_from_the_prior_has_its_name_and_the_stored_one() -> None:
    assert SamplerSettings(start="prior") == SamplerSettings(start="localiser")
    assert SamplerSettings(start="prior").start == "localiser"
