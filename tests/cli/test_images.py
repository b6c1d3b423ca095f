"""Image classifiers on the command line."""

import json
from pathlib import Path
from typing import Any

from hf_llc import Estimate
from tests.helpers import tiny_images
from tests.helpers.command_line import Run

CHAINS: dict[str, Any] = {"sampler": "sgld-lm", "gamma": 300.0, "chains": 2, "draws": 20, "burn_in": 5, "lr": 1e-4}


def test_the_command_line_speaks_of_images(run: Run) -> None:
    trained = tiny_images.train(tiny_images.make_model(), 40)
    tiny_images.save_model(trained, Path("model"), processor=tiny_images.make_processor())
    data = tiny_images.save_parquet(Path("images.parquet"))
    arguments = [word for name, value in CHAINS.items() for word in (f"--{name.replace('_', '-')}", value)]
    ran = run("estimate", "model", "--dataset", data, "--max-sequences", 48, "--batch-size", 16, *arguments)
    assert ran.code == 0, ran.err
    assert "batch 16 of n = 48, seed 0" in ran.out
    assert "token" not in ran.out + ran.err
    result = Estimate.from_dict(json.loads(run("estimate", "model", "--dataset", data, "--json", *arguments).out))
    assert result.settings.n == 96
    ran = run("estimate", "model", "--dataset", data, *arguments, "--dry-run")
    assert ran.code == 0, ran.err
    assert f"images  {2 * 26 * 32:,} through the model (2 chains × 25 steps)" in " ".join(ran.out.split()).replace(
        "images ", "images  ", 1
    )
    assert "token" not in ran.out
