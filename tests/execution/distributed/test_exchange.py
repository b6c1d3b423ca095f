"""What processes of a launch tell each other: whole, and nothing but values."""

import pickle
from pathlib import Path

import pytest

from hf_llc.errors import LaunchError
from hf_llc.execution.distributed.exchange import decode, encode
from hf_llc.execution.plan import Plan
from hf_llc.settings.sampler import SamplerSettings
from tests.execution.test_plan import example

VALUES = [
    None,
    True,
    0.1 + 0.2,
    float("inf"),
    2**70,
    "ä\n\x1b",
    [],
    ["a", ("b", 1)],
    (None, 2),
    {"mapping": {"path": "x"}, "plan": [1]},
    Path("/a/b c"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back_as_they_were(value: object) -> None:
    text = decode(encode(value))
    assert (text, type(text)) == (value, type(value))


def test_a_plan_comes_back_as_it_was() -> None:
    result = example()
    results, folder = decode(encode(([result], Path("folder"))))
    assert isinstance(results[0], Plan)
    assert (results, folder) == ([result], Path("folder"))
    assert results[0].key == result.key


def test_other_things_are_not_sent() -> None:
    for value in (object(), {1: 2}, {"a": {b"x"}}, SamplerSettings):
        with pytest.raises(TypeError, match="is not exchanged between processes"):
            encode(value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"os.system": "true"}',
        b'{"plan": {}}',
        b'{"plan": 3}',
        b'{"path": 3}',
        b'{"mapping": []}',
        b'{"tuple": 1}',
        b'{"path": "a", "tuple": []}',
        b"[" * 100_000,
        pickle.dumps({"a": 1}),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_holds_no_such_value_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(
        LaunchError, match=r"^Another process of this launch sent a message that this one cannot read.* version"
    ):
        decode(content)
