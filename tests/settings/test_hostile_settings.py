"""Settings files that strangers or accidents left: values, or one short line within a second or two."""

import json
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.step_names import read_steps
from hf_llc.errors import HfLlcError, NotFoundError, SettingsError
from hf_llc.execution.store import RunStore
from hf_llc.results.curve import Curve, Point
from hf_llc.settings.file import known_settings, read_settings
from hf_llc.settings.yaml_file import LARGEST, mapping_text, read_mapping
from tests.helpers.estimates import SETTINGS, estimate
from tests.helpers.json_mutations import ODD, changed_bytes

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
MERGES = "a0: &a0 {k0: 1, k1: 2}\n" + "".join(
    f"a{level}: &a{level}\n  <<: [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
BOMBS = {
    "aliases": f"{LAUGHS}gamma: *a9\n",
    "aliases of a setting": LAUGHS.replace("a0:", "params:", 1) + "gamma: *a9\n",
    "merges": f"{MERGES}gamma: 1\n",
    "itself": "gamma: &a [*a]\n",
    "itself as a mapping": "settings: &a {gamma: *a}\n",
    "unknown alias": "gamma: *a\n",
    "flow": "gamma: " + "[" * 50_000,
    "closed flow": "gamma: " + "[" * 5000 + "]" * 5000,
    "mappings": "gamma: " + "{a: " * 5000,
    "blocks": "".join(f"{' ' * level}a:\n" for level in range(500)),
    "JSON lists": '{"gamma": ' + "[" * 100_000,
    "JSON objects": '{"gamma": ' * 100_000,
    "object tag": "gamma: !!python/object/apply:os.system [echo]\n",
    "name tag": "!!python/name:os.system x\n",
    "long tag": f"gamma: !<{'x' * 9000}> 1\n",
    "decimal": f"seed: {'9' * 10_000}\n",
    "hexadecimal": f"seed: 0x{'f' * 10_000}\n",
    "sixties": f"%YAML 1.1\n---\nseed: 1{':59' * 10_000}\n",
    "mantissa": "%YAML 1.1\n---\nseed: 1e5\n",
    "twice": "gamma: 1\ngamma: 2\n",
    "twice with aliases": f"{LAUGHS}gamma: *a3\ngamma: *a3\n",
    "twice in JSON": '{"gamma": 1, "gamma": 2}',
    "long name": f"{'x' * 900}: 1\n",
    "long list": f"params: [{'1, ' * 9000}]\n",
    "date": "gamma: 2001-99-99\n",
    "bad values of tags": "gamma: !!int ''\n",
    "bad date": "gamma: !!timestamp abc\n",
    "bad truth": "checks: !!bool perhaps\n",
    "bytes": "gamma: !!binary '-'\n",
    "list as key": "? [gamma]\n: 1\n",
    "two documents": "gamma: 1\n---\ngamma: 2\n",
    "NUL": "gamma: \0\n",
    "escape": "\x1b[2J: 1\n",
    "surrogate": '{"sampler": "\\ud800"}',
    "not a number": "gamma: .nan\n",
    "large": "# \n" * LARGEST,
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_short_line_and_takes_no_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(BOMBS[name])
    started = time.monotonic()
    with pytest.raises(SettingsError) as error:
        read_settings(path)
    assert time.monotonic() - started < 5
    assert len(str(error.value)) < len(str(path)) + 250
    assert "settings.yaml" in str(error.value)


def test_no_value_is_made_of_what_aliases_repeat(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(BOMBS["aliases"])
    with pytest.raises(SettingsError, match=r"line \d+ is not YAML: it stands for more than 20000 values"):
        read_settings(path)


def test_no_command_of_a_tag_is_run(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"gamma: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    with pytest.raises(SettingsError, match="could not determine a constructor"):
        read_settings(path)
    assert [each.name for each in tmp_path.iterdir()] == ["settings.yaml"]


def test_anchors_and_merges_of_ordinary_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "base: &base {gamma: 100.0, chains: 4}\nsettings:\n  <<: *base\n  lr: &lr 1.0e-5\n  burn_in_lr: *lr\n"
    )
    assert read_settings(path) == {"gamma": 100.0, "chains": 4, "lr": 1e-5, "burn_in_lr": 1e-5}


@pytest.mark.parametrize("file", ["folder", "fifo", "/dev/zero", "sparse", "binary", "none"])
def test_what_is_no_settings_file_is_refused_by_what_it_is(tmp_path: Path, file: str) -> None:
    path = Path(file) if file.startswith("/") else tmp_path / file
    if file == "folder":
        path.mkdir()
    elif file == "fifo":
        os.mkfifo(path)
    elif file == "sparse":
        with path.open("wb") as sparse:
            sparse.truncate(2**30)
    elif file == "binary":
        path.write_bytes(b"\x80\x02}q\x00")
    result = {
        "folder": "is a folder",
        "fifo": "is not a regular file",
        "/dev/zero": "is not a regular file",
        "sparse": "has more than 67108864 bytes",
        "binary": "byte 0 is not UTF-8",
        "none": "No file",
    }[file]
    with pytest.raises((SettingsError, NotFoundError), match=result):
        read_settings(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/zero", "more than 1048576 bytes"),
        ("/", "cannot be read"),
        ("~nobody-of-this-name/x", "cannot be read"),
        ("a\0b", "cannot be read|without null characters"),
    ],
)
def test_lists_of_names_are_read_up_to_a_limit(path: str, message: str) -> None:
    with pytest.raises(HfLlcError, match=message):
        read_steps(Path(path))
    with pytest.raises(HfLlcError, match=message):
        Selection.parse(f"@{path}")


def test_lists_of_names_may_have_a_byte_order_mark_and_come_through_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "steps").write_bytes(b"\xef\xbb\xbfkestrel 250000\r\n")
    assert read_steps(tmp_path / "steps") == {"kestrel": 250000}
    reading, writing = os.pipe()
    os.write(writing, b"kestrel 7\n")
    os.close(writing)
    assert read_steps(Path(f"/dev/fd/{reading}")) == {"kestrel": 7}
    os.close(reading)


def test_a_result_is_a_settings_file_in_every_form_it_has_on_disk(tmp_path: Path) -> None:
    records = [estimate(step, 1.0) for step in range(200)]
    points = [Point(revision=f"step{each.step}", step=each.step, estimate=each) for each in records]
    RunStore(tmp_path, pytest.fail).write("estimate", records[0].to_dict())
    (tmp_path / "scan.json").write_text(json.dumps(Curve.of_points("m", points, run_dir="", versions={}).to_dict()))
    started = time.monotonic()
    read = [read_settings(tmp_path / name) for name in ("estimate.json", "scan.json")]
    assert time.monotonic() - started < 5
    assert read[0] == read[1]
    assert (read[0]["gamma"], read[0]["draws"]) == (SETTINGS.gamma, SETTINGS.draws)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.text(st.sampled_from("[]{}:,&*!|>-?#%@'\"\\ \n\tab1.~<=xe+\u0085"), max_size=60),
        st.lists(st.tuples(st.sampled_from(sorted(known_settings())), st.sampled_from(ODD)), max_size=3).map(
            lambda pairs: "".join(f"{name}: {json.dumps(value)[:300]}\n" for name, value in pairs)
        ),
    )
)
def test_any_text_is_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        read = read_settings(path)
    except HfLlcError as error:
        outcome = str(error)
    else:
        outcome = "read"
        assert set(read) <= set(known_settings())
    assert len(outcome) < len(str(path)) + 400


def test_mutants_of_a_settings_file_are_settings_or_one_line(tmp_path: Path) -> None:
    draw, path = random.Random(0), tmp_path / "settings.yaml"
    whole = {name: value for name, value in SETTINGS.to_dict().items() if name not in {"params", "burn_in_lr"}}
    content = mapping_text(whole, ["What this is."], {"gamma": "Chosen so."}).encode()
    ends = {"read": 0, "refused": 0}
    for _ in range(int(os.environ.get("HF_LLC_MUTATIONS", "60"))):
        path.write_bytes(changed_bytes(content, draw))
        try:
            read_settings(path)
            ends["read"] += 1
        except HfLlcError:
            ends["refused"] += 1
    assert min(ends.values()) > 0


def test_what_is_written_is_within_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(mapping_text({"gamma": 1.0}, ["word " * 9000], {"gamma": "why " * 9000}))
    assert read_mapping(path) == {"gamma": 1.0}
