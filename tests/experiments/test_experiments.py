"""A tiny one of each experiment: what is exact holds to rounding, what is sampled has a number and its row."""

import gzip
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.benchmarks.panel import Net
from tests.experiments import deep_linear_nets, grokking, influence, paired_nets, parsimony, rescaling, training
from tests.helpers.learned_model import save_learned_model
from tests.helpers.tiny_model import CONTEXT, make_tokenizer, sentences


def test_a_deep_linear_net_has_its_exact_coefficient() -> None:
    rows = deep_linear_nets.experiment([Net((6, 4, 6), 3)], draws=150)
    # Reduced-rank regression (Aoyagi and Watanabe 2005), where no width exceeds the sum of the others less the rank.
    widths, rank = (6, 4, 6), 3
    assert rows[0]["truth"] == pytest.approx(_reduced_rank(*widths, rank))
    assert rows[0]["stderr"] < 0.3 * rows[0]["truth"]
    assert abs(rows[0]["llc"] - rows[0]["truth"]) < 3 * rows[0]["stderr"]
    assert deep_linear_nets.picture(rows).axes


def _reduced_rank(inputs: int, hidden: int, outputs: int, rank: int) -> float:
    odd = (inputs + hidden + outputs + rank) % 2
    total = -((hidden + rank) ** 2) - inputs**2 - outputs**2
    return (total + 2 * (hidden + rank) * (inputs + outputs) + 2 * inputs * outputs + odd) / 8


@pytest.mark.parametrize("net", [parsimony.Net(12, 3, (3.0, 2.0), 0.1), parsimony.Net(9, 2, (1.5,), 0.01)])
def test_training_from_small_orthogonal_weights_moves_a_narrow_net_and_one_number(net: parsimony.Net) -> None:
    rows = parsimony.split(net, 400)
    assert max(rows["cross"], rows["complement"], rows["compressed"]) < 1e-12
    assert rows["equal"] < 1e-10


def test_another_start_does_not() -> None:
    """The statement needs orthogonal weights: the same check sees that it fails for others."""

    def gaussian(net: parsimony.Net) -> list[torch.Tensor]:
        stream = torch.Generator().manual_seed(0)
        shape = (net.width, net.width)
        return [net.scale * torch.randn(shape, generator=stream, dtype=torch.float64) for _ in range(net.depth)]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parsimony, "initial", gaussian)
        assert parsimony.split(parsimony.Net(9, 2, (1.5,), 0.1), 100)["cross"] > 1e-6


def test_a_plateau_is_a_saddle_of_the_real_target_and_a_minimum_of_its_own() -> None:
    net = parsimony.Net(5, 2, (3.0, 1.0), 0.01)
    own, aligned, real, *_ = parsimony.checkpoints(net, (20,), parsimony.dynamics(net, 400, 400, 4))
    assert own["llc"] == pytest.approx(
        aligned["llc"], abs=4 * (own["stderr"] ** 2 + aligned["stderr"] ** 2) ** 0.5 + 0.2
    )
    assert own["stderr"] < 0.2 * own["llc"]
    assert real["verdict"] == "not-a-minimum"
    assert parsimony.picture({"checkpoints": [own, aligned, real]}).axes


def test_training_recipes_of_equal_noise_are_pairs() -> None:
    noise = {recipe: recipe.noise for recipe in training.recipes()}
    for rate, batch, momentum, other in training.PAIRS:
        assert noise[training.Recipe(rate, batch, momentum)] == pytest.approx(noise[training.Recipe(other)])


def test_a_row_of_the_training_experiment_has_its_numbers(tmp_path: Path) -> None:
    pixels, classes = bytes(i % 251 for i in range(64 * 784)), bytes(i % 10 for i in range(64))
    for name in ("train", "t10k"):
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + classes))
    data = training.images(tmp_path, "train", 48)
    assert data[0].shape == (48, 1, 14, 14)
    assert data[1][:11].tolist() == [*range(10), 0]
    setup = replace(training.Setup(), images=48, epochs=2, longest=4, cooling=1, chains=2, draws=4)
    row = training.trained(training.Recipe(0.05), data, data, setup, tmp_path / "runs")
    assert row["end"]["llc"] is not None
    assert row["cooled"]["verdict"]
    assert training.picture([row]).axes


def test_a_relative_prior_gives_rescaled_nets_one_number(tmp_path: Path) -> None:
    short: dict[str, Any] = {"chains": 2, "draws": 8, "burn_in": 8, "lr": 1e-5, "baseline": "paired", "checks": False}
    rows = rescaling.experiment((0.25, 4.0), output=tmp_path, steps=60, **short)
    assert all(row["moved"] < 1e-4 for row in rows)
    isotropic, relative = ([row["llc"] for row in rows if row["prior"] == prior] for prior in ("isotropic", "relative"))
    assert relative[0] == pytest.approx(relative[1], rel=1e-3)
    assert isotropic[0] != pytest.approx(isotropic[1], rel=0.1)
    assert rescaling.picture(rows).axes


def test_two_minima_of_one_deep_linear_net_differ_by_their_exact_coefficients(tmp_path: Path) -> None:
    numbers = paired_nets.experiment(seeds=1, draws=300, long=200, output=tmp_path)
    difference, stderr, unpaired = numbers["rows"][0]
    assert numbers["exact"] == -4.5
    assert stderr < 1.5
    assert abs(difference - numbers["exact"]) < 3 * stderr
    assert unpaired != stderr
    assert paired_nets.picture(numbers).axes


def test_influences_are_those_of_a_changed_loss(tmp_path: Path) -> None:
    """On a tiny model: signs that are known agree, and differences are those of the errors."""
    save_learned_model(tmp_path / "model", tmp_path / "text.jsonl")
    net = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = make_tokenizer()
    ids = torch.tensor([token for line in sentences(60) for token in tokenizer(line)["input_ids"]])
    rows = ids[: 12 * CONTEXT].view(12, CONTEXT)
    setup = influence.Setup(items=12, length=CONTEXT, changed=2, recorded=400, draws=40, gamma=1000.0)
    rows_of_items = influence.experiment(net, rows, setup, tmp_path / "runs")
    assert sum(row["significant"] for row in rows_of_items) >= 8
    assert all(row["same_sign"] == row["significant"] for row in rows_of_items)
    assert all(row["mean_square"] < 3 for row in rows_of_items)
    assert influence.picture(rows_of_items).axes


def test_every_seed_of_grokking_has_a_row_for_each_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = {column: [1.0, math.nan] for column in grokking.COLUMNS}
    for seed in (0, 1):
        (tmp_path / f"grokking-{seed}").mkdir()
        columns = {**table, "step": [0, 10], "stderr": 0.1, "verdict": ["converged", "not-a-minimum"]}
        pandas.DataFrame(columns).to_csv(f"grokking-{seed}/table.csv", index=False)
    rows = grokking.experiment((0, 1))
    assert [(row["seed"], row["step"], row["llc"]) for row in rows] == [
        (0, 0, 1),
        (0, 10, None),
        (1, 0, 1),
        (1, 10, None),
    ]
    assert len(grokking.picture(rows).axes) == len(grokking.COLUMNS)
