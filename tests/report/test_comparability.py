"""When λ̂ of two curves may be compared, and what is said when not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc.report.comparability import comparable_sets, differences
from hf_llc.report.export import curve_of
from hf_llc.results.curve import Curve, Point
from tests.helpers.estimates import SETTINGS, estimate


def curve(*, dataset: dict[str, Any] | None = None, **settings: Any) -> Curve:
    """A curve of two points with these changes to their settings and text."""
    results = [estimate(step, settings=replace(SETTINGS, **settings)) for step in (1, 2)]
    results = [replace(each, dataset=replace(each.dataset, **(dataset or {}))) for each in results]
    points = [Point(revision=f"step{each.step}", step=each.step, estimate=each) for each in results]
    return curve_of("org/model", points, Path("run"))


@pytest.mark.parametrize(
    "other",
    [
        curve(sampler="baoab", momentum=0.9, lr=1e-6, chains=8, draws=500, seed=3, batch_size=64, threads=4),
        curve(gamma=2 * SETTINGS.gamma, n_beta=2 * SETTINGS.n_beta),
        curve(gamma=SETTINGS.gamma * (1 + 1e-9)),
        curve(dataset={"id": "/elsewhere/the same file"}),
    ],
)
def test_how_well_a_number_is_estimated_is_no_reason(other: Curve) -> None:
    assert differences(["a", "b"], [curve(), other]) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (curve(gamma=SETTINGS.gamma / 2), "γ/nβ is 29.04 for a, 14.52 for b: curvatures below"),
        (curve(n_beta=2 * SETTINGS.n_beta), "γ/nβ is 29.04 for a, 14.52 for b: curvatures below"),
        (curve(context_length=32), "A sequence has 64 tokens for a, 32 tokens for b"),
        (curve(n=512), "The loss is over 2048 items for a, 512 items for b"),
        (curve(params="*attention*"), "What moves is all weights for a, only *attention* for b"),
        (curve(dataset={"revision": "d" * 40}), "The data is text of org/text train at bbbbbbbbbbbb for a, text of"),
        (curve(dataset={"split": "test"}), "test at bbbbbbbbbbbb for b: the loss is that of other items"),
        (curve(dataset={"config": "en"}), "org/text (en) train at"),
        (curve(dataset={"fingerprint": "sha256:" + "e" * 64}), "tokenized or packed differently"),
    ],
)  # fmt: skip
def test_what_makes_numbers_incomparable_is_said(other: Curve, message: str) -> None:
    (sentence,) = differences(["a", "b"], [curve(), other])
    assert message in sentence


def test_curves_without_tokens_are_not_told_of_any() -> None:
    images = curve(dataset={"task": "image-classification", "unit": "nats per image"}, context_length=1, n=512)
    chats = curve(dataset={"loss_on": "assistant"}, context_length=32)
    for other in (curve(), chats):
        sentences = differences(["a", "b"], [other, images])
        assert sentences[0].startswith("The task is text-generation for a, image-classification for b: ")
        assert not [each for each in sentences if "token" in each]
    sentences = differences(["a", "b", "c"], [curve(), images, chats])
    text = " ".join(sentences)
    assert "A sequence has 64 tokens for a, 32 tokens for c: the loss of a token depends on those around it." in text
    assert "What counts are all tokens of packed text for a, the tokens of the assistant for c: the loss is" in text


def test_those_that_agree_are_named_together() -> None:
    (sentence,) = differences(["a", "b", "c"], [curve(), curve(context_length=32), curve()])
    assert sentence.startswith("A sequence has 64 tokens for a and c, 32 tokens for b: ")


def test_other_text_has_other_tokens_in_any_case() -> None:
    other = curve(dataset={"revision": "d" * 40, "fingerprint": "sha256:" + "e" * 64})
    assert len(differences(["a", "b"], [curve(), other])) == 1


def test_a_curve_at_changing_settings_is_comparable_with_nothing() -> None:
    mixed = [estimate(1), estimate(2, settings=replace(SETTINGS, gamma=1.0))]
    points = [Point(revision=f"step{each.step}", step=each.step, estimate=each) for each in mixed]
    result = differences(["a", "b"], [curve(), curve_of("org/model", points, Path("run"))])
    assert result == ["γ or nβ changes along the curve of b."]


def test_a_curve_without_numbers_speaks_against_nothing() -> None:
    failed = curve_of("org/model", [Point(revision="main", error="no weights")], Path("run"))
    assert differences(["a", "b"], [curve(), failed]) == []


def test_curves_are_put_into_sets_that_may_be_compared_told_by_what_differs() -> None:
    small = curve(n=512, dataset={"fingerprint": "sha256:" + "e" * 64})
    sampled = curve(sampler="baoab", momentum=0.9, seed=3)
    assert comparable_sets([curve(), small, sampled, small]) == [
        ("the loss is over 2048 items", [0, 2]),
        ("the loss is over 512 items", [1, 3]),
    ]
    assert comparable_sets([curve(), sampled]) == [("", [0, 1])]
    other = replace(curve(gamma=SETTINGS.gamma / 2), model="org/other")
    assert [title for title, _ in comparable_sets([curve(), other])] == [
        "the model is org/model, γ/nβ is 29.04",
        "the model is org/other, γ/nβ is 14.52",
    ]
    assert comparable_sets([]) == []


def test_a_curve_along_which_gamma_changes_is_in_no_set_with_others() -> None:
    points = (*curve(gamma=100.0).points, *curve().points)
    changing = curve_of("org/model", list(points), Path("run"))
    assert comparable_sets([curve(), changing]) == [
        ("γ/nβ is 29.04", [0]),
        ("γ/nβ is not the same at all checkpoints", [1]),
    ]
