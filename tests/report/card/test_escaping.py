"""Words of strangers in every text that a record has: on a card they stay words."""

import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from markdown_it import MarkdownIt

from hf_llc.report.card import render
from hf_llc.results.curve import Curve, Point
from tests.helpers.estimates import SETTINGS, estimate

WORDS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=y>",
    "<https://evil.example>",
    "&#60;script&#62;",
    "&lt;b&gt;",
    "<!--",
    "-->",
    "<!-- hf-llc:end -->",
    "[x](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "[x]: https://evil.example",
    "https://evil.example",
    "hTTps://EVIL.example",
    "www.evil.example",
    "WWW.evil.example",
    "someone@evil.example",
    "mailto:someone@evil.example",
    "`code`",
    "```\ncode",
    "~~~",
    "| a | b |",
    "a\\|b",
    "\\",
    "\\[x\\](y)",
    "$$x$$",
    "*x*",
    "_x_",
    "~~x~~",
    "a\n\n# head",
    "---",
    "=====",
    "- item",
    "1. item",
    "> quote",
    "    code",
    "{{ 7*7 }}",
    "{% raw %}",
    "\u202eevil",
    "\u200b",
    "$(touch x)",
    "; rm -rf ~",
    "'; rm -rf ~; '",
    "--trust-remote-code",
    "yes",
    "null",
    "1e5",
    "12:30",
    "- a: b",
    "&a",
    "*a",
    "!!python/object:x",
    "%YAML",
)
RENDERERS = {"model": render.render_model_card, "dataset": render.render_dataset_card}
READER = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def content(word: str) -> render.Content:
    """A curve in which every text is this word."""
    names = ("sampler", "gradient", "dtype", "device", "params", "start", "batches", "baseline", "batched_chains",
             "prior", "batch_norm", "component")  # fmt: skip
    data = replace(
        estimate().dataset, id=word, config=word, split=word, text_column=word, revision=word, fingerprint=word,
        loss_on=word, label_column=word, bos=word,
    )  # fmt: skip
    first = replace(
        estimate(8, 2.0),
        revision=word,
        verdict_reason=word,
        choices={word: word},
        dataset=data,
        versions={"hf-llc": word, word: word},
        settings=replace(SETTINGS, **dict.fromkeys(names, word)),  # type: ignore[arg-type]
    )
    points = [
        Point(revision=f"a {word}", stage=word, step=8, sha="a" * 40, estimate=first),
        Point(revision=f"b {word}", duplicate_of=word, estimate=first),
        Point(revision=f"c {word}", error=word),
    ]
    curve = Curve.of_points("org/m", points, run_dir=".", versions={"hf-llc": word})
    return render.Content(curve=curve, name=word, headline=points[:1], home="hf://org/m")


def structure(body: str) -> list[Any]:
    """What a reader sees of a card beside its words: blocks, links, pictures, HTML."""
    blocks: list[Any] = []
    for block in READER.parse(body):
        blocks.append((block.type, block.tag, block.info))
        inner = [token for token in block.children or [] if token.type not in {"text", "text_special", "softbreak"}]
        blocks += [(token.type, token.attrs.get("href"), token.attrs.get("src")) for token in inner]
    return blocks


@pytest.mark.parametrize("kind", RENDERERS)
def test_a_word_changes_nothing_but_words(kind: str) -> None:
    whole = {word: RENDERERS[kind](content(word)) for word in ("word", *WORDS)}
    expected = structure(whole["word"].partition("\n---\n")[2])
    for word, text in whole.items():
        front, _, body = text.removeprefix("---\n").partition("\n---\n")
        assert structure(body) == expected, word
        prose = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
        # What GitHub's readers turn into links although nothing marks it as one.
        assert not re.search(r"(?i)(?<!\()\b(https?|ftp)://(?!arxiv)|www\.|\w@\w", prose), word
        assert isinstance(yaml.safe_load(front), dict)


@pytest.mark.parametrize("word", WORDS)
def test_the_command_is_one_command_with_the_word_as_a_value(word: str) -> None:
    result = content(word)
    arguments = shlex.split(result.reproduced_by)
    assert arguments[:4] == ["hf-llc", "scan", "org/m", "--revisions"]
    assert "\n" not in result.reproduced_by
    options = arguments[3::2]
    assert all(option.startswith("--") for option in options[:-1])
    settings = yaml.safe_load(render.settings_file(result))
    assert settings["command"] == result.reproduced_by
    assert all(isinstance(value, str) for value in settings["dataset"].values())
