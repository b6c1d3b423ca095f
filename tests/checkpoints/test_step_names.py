"""Names of published series say stage, step and tokens."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_llc.checkpoints.step_names import Place, place_of, read_steps
from hf_llc.errors import SettingsError
from hf_llc.results.curve import training_order


@pytest.mark.parametrize(
    ("name", "stage", "step", "tokens"),
    [
        ("step512", None, 512, None),
        ("step0", None, 0, None),
        ("stage1-step1000-tokens5B", "stage1", 1000, 5 * 10**9),
        ("step556000-tokens2460B", None, 556000, 2460 * 10**9),
        ("stage2-ingredient1-step11931-tokens50B", "stage2-ingredient1", 11931, 50 * 10**9),
        ("stage1-step-40000", "stage1", 40000, None),
        ("step-240000", None, 240000, None),
        ("step-001000-2BT", None, 1000, 2 * 10**9),
        ("global_step1000", None, 1000, None),
        ("checkpoint-400", None, 400, None),
        ("ckpt_007", None, 7, None),
        ("iter_0002384", None, 2384, None),
        ("CrystalCoder_phase1_checkpoint_010000", "phase1", 10000, None),
        ("TinyLlama-1.1B-intermediate-step-50K-105b", None, 50_000, 105 * 10**9),
        ("multiberts-seed_0-step_20k", None, 20_000, None),
        ("main", None, None, None),
        ("kestrel", None, None, None),
        ("llama-7b-v1.5", None, None, None),
    ],
)
def test_names_are_taken_apart(name: str, stage: str | None, step: int | None, tokens: int | None) -> None:
    assert place_of(name) == Place(stage=stage, step=step, tokens=tokens)


def test_order_is_by_stage_as_a_number_then_step_and_unknown_last() -> None:
    names = ["main", "stage10-step1", "stage2-step5", "stage2-step1", "step9"]
    by_training = sorted(names, key=lambda name: training_order(place_of(name).stage, place_of(name).step))
    assert by_training == ["step9", "stage2-step1", "stage2-step5", "stage10-step1", "main"]


@given(st.text(max_size=40))
def test_any_text_has_a_place_that_sorts(name: str) -> None:
    result = place_of(name)
    assert training_order(result.stage, result.step) <= training_order(None, None)


@given(st.integers(1, 9), st.integers(0, 10**7), st.integers(1, 9999), st.sampled_from([("K", 3), ("B", 9), ("T", 12)]))
def test_stage_step_and_tokens_are_read_back(stage: int, step: int, tokens: int, unit: tuple[str, int]) -> None:
    letter, power = unit
    expected = Place(stage=f"stage{stage}", step=step, tokens=tokens * 10**power)
    assert place_of(f"stage{stage}-step{step}-tokens{tokens}{letter}") == expected
    assert place_of(f"stage{stage}-step-{step:07d}-{tokens}{letter}") == expected
    assert place_of(f"stage{stage}/model-7B-checkpoint_{step}").step == step


@given(st.integers(0, 10**9))
def test_a_step_is_read_back(step: int) -> None:
    assert [place_of(f"{prefix}{step}").step for prefix in ("step", "step-", "checkpoint-", "ckpt_")] == [step] * 4


@pytest.mark.parametrize("name", [f"step{'9' * 13}", f"checkpoint-{'9' * 400}", f"step1-tokens{'9' * 400}B", "stage²"])
def test_more_digits_than_a_step_has_are_no_step(name: str) -> None:
    result = place_of(name)
    assert (result.step or 0, result.tokens or 0) < (10**12, 10**12)
    assert training_order("²", 3) < training_order(None, None)


def test_a_step_map_with_too_many_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "steps").write_text(f"kestrel {'9' * 5000}\n")
    with pytest.raises(SettingsError, match="line 1 must be a name and a step"):
        read_steps(tmp_path / "steps")
