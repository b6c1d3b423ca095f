"""Somebody's card with our entries in it: nothing else changes, and publishing again changes nothing."""

import codecs
import copy
import difflib
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from hf_llc.report.card.merge import merge, results_path
from hf_llc.report.card.metadata import dataset_entries, model_entries
from hf_llc.report.card.ownership import Entries
from hf_llc.report.card.section import BEGIN, END
from hf_llc.report.card.yaml_edit import Editor
from hf_llc.report.card.yaml_tree import CardError
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Estimate
from tests.helpers.estimates import SETTINGS, estimate
from tests.helpers.hostile_cards import HOSTILE, REFUSED

SECTION = f"{BEGIN}\n## Local learning coefficient\n\nWords: λ̂.\n{END}\n"
FRONT = re.compile(r"\s*---[ \t]*(?:\r\n|\r|\n)((?:.*?(?:\r\n|\r|\n))??)---[ \t]*(?:\r\n|\r|\n|\Z)", re.DOTALL)


def entries(*estimates: Estimate, name: str = "my-model") -> Entries:
    """What publishing these estimates adds to a card."""
    return model_entries(name, points_of(*estimates))


def points_of(*estimates: Estimate) -> list[Point]:
    """A point for each estimate."""
    return [point for each in estimates for point in Curve.of_estimate(each).points]


UNSEEN = {"old mac lines"}
"""Where huggingface_hub sees no front matter, whatever stands in it."""
OURS = entries(estimate(8, 9.0), estimate(512))


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Values as they are written: every scalar a text, every unknown type its content."""


def _text(loader: Any, _: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)


Loader.yaml_implicit_resolvers = {}
Loader.add_multi_constructor("!", _text)
for kind in ("set", "binary"):
    Loader.add_constructor(f"tag:yaml.org,2002:{kind}", lambda loader, node: _text(loader, "", node))


def front(card: bytes) -> dict[Any, Any]:
    """The front matter of a card as another library reads it, all scalars as text; empty where there is none."""
    match = FRONT.match(card.removeprefix(codecs.BOM_UTF8).decode())
    text = match[1] if match else ""
    # PyYAML has no lists as keys.
    return yaml.load(text.replace("? [a, b]", "? a-b").replace("\r", "\n"), Loader) or {}


def without_ours(front: dict[Any, Any]) -> dict[Any, Any]:
    """The front matter with the tag, our results, our configuration and our key taken out, and empty lists too."""
    results = copy.deepcopy(front)
    results.pop("hf-llc", None)
    tags = results.get("tags")
    tags = [] if tags in ("", "null", None) else [tags] if isinstance(tags, str) else tags
    results["tags"] = [tag for tag in tags if tag != "llc"]
    for model in (index := results.get("model-index") or []):
        kept = [result for result in model.get("results") or [] if not is_ours(result)]
        model |= {"results": kept}
    results["model-index"] = [model for model in index if model != {"name": "my-model", "results": []}]
    results["configs"] = [config for config in results.get("configs", []) if config.get("config_name") != "llc"]
    return results


def is_ours(result: dict[str, Any]) -> bool:
    """Whether hf-llc wrote a result."""
    return any("hf_llc_version" in str(metric.get("args")) for metric in result["metrics"])


def ours(front: dict[Any, Any]) -> list[dict[str, Any]]:
    """Our metrics."""
    results = [result for model in front.get("model-index") or [] for result in model.get("results") or []]
    return [metric for result in results if is_ours(result) for metric in result["metrics"]]


def changed(before: bytes, after: bytes) -> list[str]:
    """The lines of the card that are not there any more."""
    old, new = (text.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True) for text in (before, after))
    return [line[2:].strip("\r\n") for line in difflib.ndiff([x.decode() for x in old], [x.decode() for x in new])
            if line.startswith("- ")]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_only_our_entries_differ_and_again_nothing(name: str) -> None:
    hostile = HOSTILE[name]
    wanted = dataset_entries("my-model") if name == "dataset card" else OURS
    merged = merge(hostile.card, wanted, SECTION)
    assert without_ours(front(merged)) == without_ours(front(hostile.card))
    assert list(without_ours(front(merged)))[: len(front(hostile.card))] == list(without_ours(front(hostile.card)))[
        : len(front(hostile.card))]  # fmt: skip
    assert tuple(changed(hostile.card, merged)) == hostile.changes
    assert "llc" in front(merged)["tags"]
    assert front(merged)["hf-llc"]["results"] == "llc/results.jsonl"
    assert len(ours(front(merged))) == len(wanted.results)
    assert merged.count(f"{BEGIN}".encode()) == hostile.card.count(BEGIN.encode()) + 1
    assert merge(merged, wanted, SECTION) == merged


@pytest.mark.parametrize("name", HOSTILE)
def test_the_body_and_the_byte_order_mark_stay(name: str) -> None:
    card = HOSTILE[name].card
    merged = merge(card, OURS, SECTION)
    assert merged.startswith(codecs.BOM_UTF8) == card.startswith(codecs.BOM_UTF8)
    body = card.removeprefix(codecs.BOM_UTF8)[_front_bytes(card) :]
    after = merged.removeprefix(codecs.BOM_UTF8)[_front_bytes(merged) :]
    assert after.startswith(body)
    added = after.removeprefix(body).decode()
    assert [line for line in added.splitlines() if line] == [line for line in SECTION.splitlines() if line]


def _front_bytes(card: bytes) -> int:
    match = FRONT.match(card.removeprefix(codecs.BOM_UTF8).decode())
    return len(match[0].encode()) if match else 0


@pytest.mark.parametrize("name", [name for name in HOSTILE if "windows" in name])
def test_new_lines_end_as_the_others_do(name: str) -> None:
    merged = merge(HOSTILE[name].card, OURS, SECTION)
    assert b"\n" not in merged.replace(b"\r\n", b"")


@pytest.mark.parametrize("name", REFUSED)
def test_a_card_that_cannot_be_changed_safely_is_refused_with_its_line(name: str) -> None:
    card, line, arguments = REFUSED[name]
    with pytest.raises(CardError, match=arguments) as caught:
        merge(card, OURS, SECTION)
    assert caught.value.line == line


@pytest.mark.parametrize("name", ["trainer", "several models", "shared dataset", "indented lists", "no front matter"])
def test_huggingface_hub_sees_our_results_among_the_others(name: str) -> None:
    data = ModelCard(merge(HOSTILE[name].card, OURS, SECTION).decode()).data
    assert isinstance(data, ModelCardData)
    seen = [each for each in data.eval_results or [] if each.metric_type == "llc"]
    assert [(each.metric_value, (each.metric_args or {})["model_revision"]) for each in seen] == [
        (9.0, "step8"),
        (13.93, "step512"),
    ]


def test_a_better_run_of_the_same_replaces_the_number_in_place() -> None:
    card = merge(HOSTILE["several models"].card, OURS, SECTION)
    better = estimate(512, 14.25, stderr=0.1, settings=replace(SETTINGS, draws=400, chains=8, lr=1e-5, seed=3))
    merged = merge(card, entries(better), SECTION)
    assert sorted(metric["value"] for metric in ours(front(merged))) == ["14.25", "9.0"]
    assert sorted(line.strip() for line in changed(card, merged)) == [
        "chains: 2", "draws: 20", "lr: 8.3e-05", "seed: 0", "stderr: 0.42", "value: 13.93"]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        estimate(512, 1.0, settings=replace(SETTINGS, gamma=1.0)),
        estimate(512, 1.0, settings=replace(SETTINGS, n=1024)),
        estimate(512, 1.0, settings=replace(SETTINGS, params="*.attention.*")),
        estimate(512, 1.0, dataset=replace(estimate().dataset, revision="d" * 40)),
        estimate(512, 1.0, dataset=replace(estimate().dataset, fingerprint="sha256:" + "e" * 64)),
        estimate(1024, 1.0),
    ],
)
def test_another_measurement_stands_beside_the_first(other: Estimate) -> None:
    card = merge(HOSTILE["trainer"].card, OURS, SECTION)
    merged = merge(card, entries(other), SECTION)
    assert [metric["value"] for metric in ours(front(merged))] == ["9.0", "13.93", "1.0"]
    assert changed(card, merged) == []


def test_what_huggingface_hub_made_of_our_results_is_still_known_as_ours() -> None:
    """It puts results that share their dataset into one, and writes numbers and texts its own way."""
    card = merge(HOSTILE["trainer"].card, OURS, SECTION)
    folded = str(ModelCard(card.decode()))
    assert folded != card.decode()
    merged = merge(folded.encode(), entries(estimate(8, 9.0), estimate(512, 20.0)), SECTION)
    assert [metric["value"] for metric in ours(front(merged))] == ["9.0", "20.0"]
    assert merge(merged, entries(estimate(8, 9.0), estimate(512, 20.0)), SECTION) == merged
    assert merge(folded.encode(), OURS, SECTION).decode() == folded


@pytest.mark.parametrize(
    "damage", [("license: apache-2.0", "license: mit"), ("- llc\n", ""), ("- generated_from_trainer\n", "")]
)
def test_an_edit_that_would_damage_something_is_noticed(
    monkeypatch: pytest.MonkeyPatch, damage: tuple[str, str]
) -> None:
    careful = Editor.text
    monkeypatch.setattr(Editor, "text", lambda editor: careful(editor).replace(*damage))
    with pytest.raises(CardError, match="cannot be added without a change of others"):
        merge(HOSTILE["trainer"].card, OURS, SECTION)


def with_url(url: str, *estimates: Estimate) -> Entries:
    """What publishing these estimates adds, the results at this address."""
    return replace(entries(*estimates), results=model_entries("my-model", points_of(*estimates), url=url).results)


def test_the_source_follows_the_results() -> None:
    old = merge(HOSTILE["trainer"].card, with_url("https://arxiv.org/abs/2308.12108", estimate()), SECTION)
    new = merge(old, with_url("https://huggingface.co/me/m/blob/main/llc/results.jsonl", estimate()), SECTION)
    assert changed(old, new) == ['      url: "https://arxiv.org/abs/2308.12108"']
    (result,) = [each for each in front(new)["model-index"][0]["results"] if is_ours(each)]
    assert result["source"] == {"name": "hf-llc", "url": "https://huggingface.co/me/m/blob/main/llc/results.jsonl"}


@pytest.mark.parametrize(
    "edit",
    [
        ("name: hf-llc\n      url:", "name: mine\n      url:"),
        ("    metrics:\n", "    metrics:\n    - {type: f1, value: 0.5}\n"),
        ("    source:\n", "    source: &s\n"),
        ("      url:", "      by: me\n      url:"),
    ],
)
def test_a_source_that_is_not_ours_alone_stays(edit: tuple[str, str]) -> None:
    old = merge(HOSTILE["trainer"].card, with_url("https://a.b/c", estimate()), SECTION).decode().replace(*edit)
    assert edit[1] in old
    assert merge(old.encode(), with_url("https://d.e/f", estimate()), SECTION) == old.encode()


def test_a_local_text_is_known_by_its_content() -> None:
    local = estimate()
    local = replace(local, dataset=replace(local.dataset, id="text.jsonl", revision="sha256:" + "d" * 64))
    old = merge(HOSTILE["trainer"].card, entries(local), SECTION).replace(b"type: local", b"type: text.jsonl")
    assert b"type: text.jsonl" in old
    assert merge(old, entries(replace(local, llc=9.0)), SECTION).count(b"type: llc") == 1


def test_a_value_of_another_tool_is_never_touched() -> None:
    text = merge(HOSTILE["llc of another tool"].card, OURS, SECTION).decode()
    assert "      value: 17.5\n      args: {model_revision: step512, sampler: other}\n" in text


def test_a_new_result_goes_to_the_model_of_our_name() -> None:
    card = HOSTILE["several models"].card
    result = front(merge(card, entries(estimate(), name="two"), SECTION))
    assert [len(model["results"]) for model in result["model-index"]] == [1, 2]
    result = front(merge(card, entries(estimate(), name="third"), SECTION))
    assert [(model["name"], len(model["results"])) for model in result["model-index"]] == [
        ("one", 1),
        ("two", 1),
        ("third", 1),
    ]


def test_a_section_is_replaced_where_it_stands() -> None:
    text = f"# A\n\nabove\n\n{BEGIN}\nold hf-llc\n\n```\n{END}\n```\n{END}\n\nbelow\n"
    result = merge(text.encode(), OURS, SECTION).decode()
    assert result.partition("---\n# A")[2] == f"\n\nabove\n\n{SECTION}\nbelow\n"


def test_our_key_of_an_older_version_is_written_over_alone() -> None:
    card = b"---\nlicense: mit\nhf-llc:\n  schema: 0\n  old: {a: 1}\n\n# a remark\ntags:\n- llc\n---\n"
    merged = merge(card, OURS, SECTION)
    assert changed(card, merged) == ["  schema: 0", "  old: {a: 1}"]
    assert front(merged)["hf-llc"] == {key: str(value) for key, value in OURS.key.items()}


@pytest.mark.parametrize("value", ["", "~", "{schema: 0}", "{schema: 0, old: x}", "{schema: 1, results: a.jsonl}"])
def test_our_key_is_written_over(value: str) -> None:
    merged = merge(f"---\nhf-llc: {value}\nlicense: mit\n---\n".encode(), OURS, SECTION)
    assert front(merged)["hf-llc"] == {key: str(value) for key, value in OURS.key.items()}
    assert list(front(merged)) == ["hf-llc", "license", "tags", "model-index"]


@pytest.mark.parametrize(
    "value", ["x", "3", "[1, 2]", "[]", "!odd x", "{}", "{a: 1}", "{results: mine}", "{schema: ²}"]
)
def test_a_key_of_our_name_that_is_not_ours_is_left_alone(value: str) -> None:
    with pytest.raises(CardError, match="hf-llc did not write") as caught:
        merge(f"---\nlicense: mit\nhf-llc: {value}\n---\n".encode(), OURS, SECTION)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    "inner",
    ["", "\n \n", "## Local learning coefficient\n", "### Local learning coefficient\n\nwords\n"],
)
def test_a_section_of_ours_or_a_place_kept_for_it_is_filled(inner: str) -> None:
    text = merge(f"# A\n\n{BEGIN}\n{inner}{END}\n\nbelow\n".encode(), OURS, SECTION).decode()
    assert text.partition("---\n# A")[2] == f"\n\n{SECTION}\nbelow\n"


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in UNSEEN])
def test_huggingface_hub_reads_the_front_matter_as_we_do(name: str) -> None:
    text = merge(HOSTILE[name].card, OURS, SECTION).removeprefix(codecs.BOM_UTF8).decode()
    block = REGEX_YAML_BLOCK.search(text)
    assert block is not None
    assert "hf_llc_version" in block[2]
    assert text[: block.end()].count("---") >= 2
    assert len(text[: block.end()].encode()) == _front_bytes(text.encode())


def test_the_results_of_a_card_are_found() -> None:
    merged = merge(HOSTILE["byte order mark and windows lines"].card, OURS, SECTION)
    assert results_path(merged) == "llc/results.jsonl"
    assert results_path(HOSTILE["no front matter"].card) is None
    assert results_path(b"---\nhf-llc: 3\n---\n") is None


def test_a_configuration_of_our_name_that_is_not_ours_is_left_alone() -> None:
    card = b"---\nlicense: mit\nconfigs:\n- config_name: llc\n  data_files: llc.csv\n---\n"
    with pytest.raises(CardError, match="did not write the configuration llc") as caught:
        merge(card, dataset_entries("m"), SECTION)
    assert caught.value.line == 4


def test_a_dataset_card_of_ours_has_a_configuration_that_is_kept_current() -> None:
    card = HOSTILE["dataset card"].card
    merged = merge(card, dataset_entries("m"), SECTION)
    assert [config["config_name"] for config in front(merged)["configs"]] == ["default", "llc"]
    moved = merged.replace(b"  data_files: llc/results.jsonl", b"  data_files: elsewhere.jsonl")
    assert merge(moved, dataset_entries("m"), SECTION) == merged
