"""Any front matter, written in any style, keeps all that is not ours (hypothesis)."""

import copy
import io
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from hf_llc.report.card.merge import merge
from hf_llc.report.card.ownership import Entries
from hf_llc.report.card.yaml_tree import CardError
from tests.helpers.estimates import estimate
from tests.report.card.test_merge import SECTION, entries, ours

OURS = entries(estimate())
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT,
    st.sampled_from(["no", "1.10", "2024-01-01", "llc", "- a", "a: b", "# c", "*x", "&y", "[", "'", '"', "---", " "]),
)  # fmt: skip
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
METRIC = st.fixed_dictionaries({"type": TEXT, "value": SCALAR}, optional={"name": TEXT, "args": VALUE, "x": VALUE})
RESULT = st.fixed_dictionaries(
    {"task": st.just({"type": "t"}), "dataset": st.just({"type": "d", "name": "d"})}
    | {"metrics": st.lists(METRIC, min_size=1, max_size=2)}
)
MODEL = st.fixed_dictionaries({"name": TEXT, "results": st.none() | st.lists(RESULT, max_size=2)})
FRONT = st.builds(
    lambda rest, known: {**rest, **known},
    st.dictionaries(TEXT.filter(lambda key: key not in {"tags", "model-index", "hf-llc"}), VALUE, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "tags": st.none() | TEXT | st.lists(SCALAR.filter(lambda tag: tag != "llc"), max_size=3),
            "model-index": st.none() | st.lists(MODEL, max_size=2),
            "license": TEXT,
        },
    ),
)
ROUND_TRIP = YAML()
ROUND_TRIP.indent(mapping=4, sequence=6, offset=3)
ROUND_TRIP.width = 40


def by_pyyaml(values: dict[str, Any], style: str | None, flow: bool | None, indent: int, width: int) -> str:
    return str(yaml.safe_dump(
        values, default_style=style, default_flow_style=flow, indent=indent, width=width, allow_unicode=True,
        sort_keys=False,
    ))  # fmt: skip


def by_ruamel(values: dict[str, Any]) -> str:
    stream = io.StringIO()
    ROUND_TRIP.dump(values, stream)
    return stream.getvalue()


STYLE = st.builds(
    lambda *named: lambda values: by_pyyaml(values, *named),
    st.sampled_from([None, '"', "'"]),
    st.sampled_from([False, True, None]),
    st.sampled_from([2, 4, 7]),
    st.sampled_from([20, 80, 10_000]),
) | st.just(by_ruamel)


def others(front: dict[str, Any]) -> dict[str, Any]:
    """All but what is ours."""
    result = copy.deepcopy(front)
    result.pop("hf-llc", None)
    tags = result.pop("tags", None)
    result["tags"] = [tag for tag in ([tags] if isinstance(tags, str) else tags or []) if tag != "llc"]
    models = result.pop("model-index", None) or []
    for model in models:
        model["results"] = [each for each in model["results"] or [] if "hf_llc_version" not in str(each)]
    result["model-index"] = [model for model in models if model != {"name": "my-model", "results": []}]
    return result


@given(
    values=FRONT, style=STYLE, newline=st.sampled_from(["\n", "\r\n"]), body=st.sampled_from(["", "# A\n\nb", "\n\n"])
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_front_matter_survives(values: dict[str, Any], style: Any, newline: str, body: str) -> None:
    text = style(values)
    read = yaml.safe_load(text) or {}
    card = f"---\n{text}---\n{body}".replace("\n", newline).encode()
    merged = merge(card, OURS, SECTION)
    new = yaml.safe_load(merged.decode().replace(newline, "\n").split("---\n", 1)[1].rsplit("\n---\n", 1)[0])
    assert others(new) == others(read)
    assert list(others(new)) == list(others(read))
    assert "llc" in new["tags"]
    assert [metric["value"] for metric in ours(new)] == [13.93]
    assert merge(merged, OURS, SECTION) == merged


@given(body=st.text(st.sampled_from(list("ab`~-<!> \n\r\t#|{}")) | st.characters(codec="utf-8"), max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_body_survives_unless_something_in_it_never_ends(body: str) -> None:
    card = f"---\nlicense: mit\n---\n{body}".encode()
    few = Entries(name="m", key={"schema": 1})
    shown = MarkdownIt("commonmark").render(f"{body}\n\n{SECTION}")
    if "<h2>Local learning coefficient</h2>" not in shown:
        with pytest.raises(CardError, match="never ends"):
            merge(card, few, SECTION)
        return
    merged = merge(card, few, SECTION)
    assert merged.partition(b"\n---\n")[2].startswith(body.encode())
    assert merge(merged, few, SECTION) == merged


@pytest.mark.parametrize("tag", [":0", "?a", "-a", "a:", "=", "@"])
def test_a_single_tag_that_is_odd_in_brackets_stays_what_it_was(tag: str) -> None:
    written = yaml.safe_dump({"tags": tag})
    merged = merge(f"---\n{written}---\n".encode(), OURS, SECTION)
    assert yaml.safe_load(merged.decode().split("---\n")[1])["tags"] == [tag, "llc"]
