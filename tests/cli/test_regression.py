"""Regression on the command line."""

from pathlib import Path

from hf_llc.tasks.regression import train
from tests.helpers.command_line import Run, refused
from tests.helpers.tiny_regression import data_of, make_model

SHORT = (
    "--sampler",
    "sgld-lm",
    "--gamma",
    300,
    "--chains",
    2,
    "--draws",
    20,
    "--burn-in",
    5,
    "--lr",
    1e-4,
    "--batch-size",
    8,
)


def test_a_table_with_names_of_its_own(run: Run) -> None:
    inputs, targets = data_of((2, 3, 1), 30)
    make_model((2, 3, 1)).save_pretrained("model")
    rows = [",".join(map(repr, [*x, *y])) for x, y in zip(inputs.tolist(), targets.tolist(), strict=True)]
    Path("table.csv").write_text("\n".join(["height,width,weight", *rows]) + "\n")
    ran = run("estimate", "model", "--dataset", "table.csv", *SHORT)
    refused(
        ran, 1, r"table.csv has no column of inputs .*its columns are height, width, weight. Choose with --text-column"
    )
    columns = ("--text-column", "height,width", "--label-column", "weight")
    ran = run("estimate", "model", "--dataset", "table.csv", *columns, *SHORT)
    assert ran.code == 0, ran.err
    assert "nats per item" in ran.out
    assert "token" not in ran.out + ran.err
    assert "sequence" not in ran.out + ran.err
    record = run("estimate", "model", "--dataset", "table.csv", *columns, *SHORT, "--json").json["dataset"]
    assert (record["text_column"], record["label_column"], record["task"]) == ("height,width", "weight", "regression")


def test_the_checkpoints_of_a_training_run_are_scanned(run: Run) -> None:
    data = data_of((3, 4, 2), 40)
    train(make_model((3, 4, 2)), *data, "run", steps=20, learning_rate=0.1, save_at=[0, 20])
    ran = run("scan", "run", "--dataset", "run/data.safetensors", *SHORT, "--num-processes", 1, "--json")
    assert ran.code == 0, ran.err
    assert [point["step"] for point in ran.json["points"]] == [0, 20]
    assert all(point["llc"] is not None for point in ran.json["points"])
