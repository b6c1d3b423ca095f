"""Bayesian influence by covariances, against what happens when the loss itself is changed.

Under L_n + δ ℓ_j the posterior's mean of ℓ_k moves by dE[ℓ_k]/dδ = −nβ Cov(ℓ_j, ℓ_k). The right side comes from one
run that recorded its losses. The left side comes from two others for each j, whose loss has a little more, and a little
less, of item j, at common random numbers: no covariance is taken there.

The script reads a causal language model from the folder CHECKPOINT and a text from the file TEXT.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

import hf_llc
from hf_llc.measures.influence.finite_difference import Response, agreement, response
from hf_llc.measures.recorded import read_recorded
from hf_llc.sampling.covariance import covariances
from tests.experiments.output import axes, run_script


@dataclass(frozen=True)
class Setup:
    """The sizes of the experiment; a tiny one is for tests.

    Attributes:
        items, length: sequences and their tokens. changed: of how many items the weight is changed. recorded: draws of
            the run with covariances. draws: of each of 4 chains under a changed loss.
    """

    items: int = 64
    length: int = 64
    changed: int = 8
    recorded: int = 4000
    draws: int = 100
    gamma: float = 6600.0


def loss_of(net: Any, rows: tuple[Tensor, Tensor]) -> Tensor:
    """ℓ_i times the weight of the item, in nats per token."""
    ids, weights = rows[0].long(), rows[1]
    logits = net(input_ids=ids, use_cache=False).logits[:, :-1]
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return losses.view(len(ids), -1).mean(dim=1) * weights


def experiment(net: nn.Module, ids: Tensor, setup: Setup, output: Path) -> list[dict[str, Any]]:
    """For each changed item its predicted and its found influences on all others, with errors."""
    n = len(ids)
    n_beta = n / torch.tensor(float(n)).log().item()
    common: dict[str, Any] = {"n_beta": n_beta, "gamma": setup.gamma, "keep": ["losses"], "threads": 1}
    hf_llc.estimate(
        net,
        (ids, torch.ones(n)),
        losses=loss_of,
        sampler="importance",
        recorded_draws=setup.recorded,
        output_dir=output / "plain",
        **common,
    )
    whole = covariances(read_recorded(output / "plain").draws)

    def moved(item: int, sign: float) -> Any:
        """Draws under L_n + sign δ ℓ_j with δ = 1/2n, for which ℓ_j weighs 1 + sign/2."""
        weights = torch.ones(n)
        weights[item] += sign / 2
        folder = output / f"{item}{sign:+.0f}"
        hf_llc.estimate(
            net,
            (ids, weights),
            losses=loss_of,
            sampler="sgld-lm",
            lr=1 / setup.gamma,
            start="prior",
            burn_in=20,
            draws=setup.draws,
            chains=4,
            batch_size=n,
            checks=False,
            gradient="minibatch",
            batches="independent",
            baseline="paired",
            output_dir=folder,
            **common,
        )
        draws = read_recorded(folder).draws
        return type(draws)(**{**vars(draws), "rises": draws.rises / weights, "anchors": draws.anchors / weights})

    rows = []
    for item in range(setup.changed):
        seen: Response = response(moved(item, 1.0), moved(item, -1.0), 1 / (2 * n))
        predicted, error = -n_beta * whole.covariance[item], n_beta * whole.covariance_stderr[item]
        rows.append(
            {
                "item": item,
                "predicted": predicted.tolist(),
                "predicted_stderr": error.tolist(),
                "found": seen.value.tolist(),
                "found_stderr": seen.stderr.tolist(),
                **agreement(predicted, error, seen)._asdict(),
            }
        )
        print({name: rows[-1][name] for name in ("item", "significant", "same_sign", "mean_square")}, file=sys.stderr)
    return rows


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Found over predicted influences, with both errors."""
    figure, (axis,) = axes()
    for row in rows:
        axis.errorbar(
            row["predicted"],
            row["found"],
            xerr=row["predicted_stderr"],
            yerr=row["found_stderr"],
            fmt="o",
            markersize=2.5,
            linewidth=0.6,
        )
    ends = [min(min(row["found"]) for row in rows), max(max(row["found"]) for row in rows)]
    axis.plot(ends, ends, color="#5A5A5A", linewidth=0.8)
    axis.set(xlabel="−nβ Cov(ℓ_j, ℓ_k) from recorded losses", ylabel="dE[ℓ_k]/dδ by changing the loss")
    return figure


def of_files() -> list[dict[str, Any]]:
    """The experiment on a model and a text on this disk."""
    folder, setup = os.environ["CHECKPOINT"], Setup()
    net, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    text = Path(os.environ["TEXT"]).read_text(encoding="utf-8")
    ids = torch.tensor(tokenizer(text[: 40 * setup.items * setup.length])["input_ids"])
    rows = ids[: setup.items * setup.length].view(setup.items, setup.length)
    return experiment(net, rows, setup, Path("hf-llc-runs"))


if __name__ == "__main__":
    run_script("influence", of_files, picture)
