"""A scan of modules in memory with a loss of one's own: the points are those of single calls."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hf_llc
from hf_llc.errors import SettingsError

SETTINGS: dict[str, Any] = {"gamma": 300.0, "sampler": "importance", "draws": 16, "device": "cpu", "threads": 1}
DATA = torch.randn((120, 4), generator=torch.Generator().manual_seed(0))
ITEMS = (DATA, DATA[:, :1].sin())


def squared(net: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    loss: Tensor = (net(x) - y).square().sum(-1) / 2
    return loss


def doubled(net: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    return 2 * squared(net, batch)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def series() -> dict[int, nn.Module]:
    """Three modules over training; the last two are the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    first = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        squared(net, ITEMS).mean().backward()
        optimizer.step()
    return {30: net, 0: first, 31: copy.deepcopy(net)}


def scanned(modules: Any, losses: Any = squared, **settings: Any) -> hf_llc.Curve:
    curve = hf_llc.scan(modules, ITEMS, losses=losses, **{**SETTINGS, **settings})
    assert curve is not None
    return curve


def test_points_are_those_of_single_calls_in_order_of_training(series: dict[int, nn.Module]) -> None:
    curve = scanned(series, measures=["llc", "local-complexity", "rank"])
    assert [point.step for point in curve] == [0, 30, 31]
    assert [point.duplicate_of for point in curve] == [None, None, "step30"]
    for point in curve:
        module = series[int(point.step or 0)]
        estimate = hf_llc.estimate(module, ITEMS, losses=squared, **SETTINGS)
        assert (point.llc, point.stderr) == (estimate.llc, estimate.stderr)
        records = hf_llc.measure(module, ITEMS, ["local-complexity", "rank"], losses=squared, **SETTINGS)
        assert {name: dict(record.values) for name, record in point.measures.items()} == records
    assert curve.points[0].llc != curve.points[1].llc
    assert hf_llc.load(curve.run_dir).to_rows() == curve.to_rows()


def test_the_same_call_goes_on_with_its_scan_and_another_loss_is_another_one(series: dict[int, nn.Module]) -> None:
    first = scanned(series, measures="rank")
    parts = {path: path.stat().st_mtime_ns for path in Path(first.run_dir).rglob("measures/rank.json")}
    assert len(parts) == 2
    assert scanned([series[0], series[30]], measures="rank").run_dir == first.run_dir
    assert {path: path.stat().st_mtime_ns for path in Path(first.run_dir).rglob("measures/rank.json")}.items() >= (
        parts.items()
    )
    assert scanned(series, doubled, measures="rank").run_dir != first.run_dir


def test_a_measure_without_meaning_leaves_its_columns_null_and_says_why(series: dict[int, nn.Module]) -> None:
    around: Any = lambda net, batch: (net[0](batch[0]).sum(-1) - batch[1][:, 0]).square()  # noqa: E731
    curve = scanned({0: series[0]}, around, measures=["local-complexity", "rank"])
    record = curve.points[0].measures["local-complexity"]
    assert record.error is not None
    assert "let `losses` call it, as in net(x)" in record.error
    assert record.values["local_rank"] is None
    assert not math.isnan(curve.points[0].measures["rank"].values["stable_rank"])


def test_what_modules_in_memory_cannot_have_is_refused(series: dict[int, nn.Module]) -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (series, {"num_processes": 2}, "num_processes must be 1 for modules in memory, got 2"),
        (series, {"revisions": "log:2"}, "revisions and selection are for checkpoints with names"),
        (series, {"max_sequences": 3}, "Settings of text, such as max_sequences, do not apply to items in memory"),
        (series[0], {}, "model must be modules by training step, or a list of them, where losses is given, got a Seq"),
        ({"a": series[0]}, {}, "model must have training steps as keys, whole numbers ≥ 0, got 'a'"),
        ({0: 3}, {}, "model must be a torch.nn.Module where losses is given, got 3"),
    ]
    for modules, settings, message in cases:
        with pytest.raises(SettingsError, match=message):
            scanned(modules, **settings)
