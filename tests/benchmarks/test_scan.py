"""What a scan from the Hub costs: the processor's idle time, disk, memory, resuming; and what common noise gains."""

import itertools
import os
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hf_llc import DataSettings, SamplerSettings
from hf_llc.scans.demo import CHECKPOINTS, DemoSize
from hf_llc.scans.request import Request
from hf_llc.scans.scan import run_scan
from tests.benchmarks.trained import demo_model
from tests.helpers.processes import Started, Starter
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.environment import client_environment
from tests.hub_server.server import HubServer

REVISIONS, HIDDEN, LAYERS = 12, 128, 2
BANDWIDTH, LATENCY = 20e6, 0.2
"""Bytes per second and seconds before each answer of the server."""
SAMPLING = "--batch-size 8 --threads 1 --num-processes 1"
LONGEST = 3600.0
PYTHIA = [0, *(2**k for k in range(10)), *range(1000, 144000, 1000)]
QUICK = "--chains 2 --draws 4 --burn-in 0 --batch-size 4 --no-checks --threads 1 --num-processes 1"
CHAINS = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """`org/twelve` of half a million weights, `org/pythia` of 45 thousand with Pythia's 154 branches, `org/text`."""
    folder = tmp_path_factory.mktemp("series")
    with HubServer() as running:
        running.add_dataset("org/text", {"t.jsonl": jsonl(200)})
        repo = running.add_model("org/twelve")
        for k in range(REVISIONS):
            repo.commit(read_files(save_tiny_model(folder / "big", k, hidden=HIDDEN, layers=LAYERS)), f"step{2**k}")
        repo = running.add_model("org/pythia")
        for k, step in enumerate(PYTHIA):
            repo.commit(read_files(save_tiny_model(folder / "small", k)), f"step{step}")
        yield running


@pytest.fixture(scope="module")
def starter(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    result = Starter(tmp_path_factory.mktemp("scans"), ["scan"])
    result.environment |= client_environment(server.url, result.place / "home") | {"HF_HUB_OFFLINE": "0"}
    yield result
    for running in result.started:
        running.stop()


class HighWater:
    """The largest size of the files below some folders while the block runs, looked at 20 times a second."""

    def __init__(self, *folders: Path) -> None:
        self._folders, self.most = folders, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "HighWater":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            walks = [walk for folder in self._folders for walk in os.walk(folder)]
            self.most = max(self.most, sum(size(Path(here) / name) for here, _, names in walks for name in names))


def size(path: Path) -> int:
    """Bytes of a file, 0 if it is a link or has gone."""
    try:
        return 0 if path.is_symlink() else path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_scan_over_a_slow_line(server: HubServer, starter: Starter) -> None:
    one = sum(blob.size for blob in server.repositories["model", "org/twelve"].at("step1").files.values())
    folder, limit = starter.place / "twelve", 3 * one
    command = ["org/twelve", "--dataset", "org/text", *SAMPLING.split(), "--output-dir", "twelve", "--json"]
    server.bandwidth, server.latency = BANDWIDTH, LATENCY
    with HighWater(folder / ".sessions", starter.place / "home/hub/models--org--twelve") as disk:
        started = time.monotonic()
        ran = starter(*command, "--max-disk", limit).finish(LONGEST)
        wall = time.monotonic() - started
    assert ran.code == 0, ran.err
    seconds = [point["estimate"]["seconds"] for point in ran.json["points"]]
    sampling, anchor = (sum(each[name] for each in seconds) for name in ("sampling", "anchor"))
    idle = sum(each["total"] - each["sampling"] - each["anchor"] for each in seconds)
    asked, started = len(server.log), time.monotonic()
    assert starter(*command).finish().json["points"] == ran.json["points"]
    again, requests = time.monotonic() - started, [entry.path for entry in server.log[asked:]]
    server.bandwidth, server.latency = None, 0.0
    print(f"\n{REVISIONS} revisions of {one / 1e6:.1f} MB at {BANDWIDTH / 1e6:g} MB/s, {LATENCY * 1000:g} ms:")
    print(f"  busy with chains       {sampling / wall:7.1%}   of {wall:.0f} s, from the command to its end")
    print(f"  losses at w*, curvature{anchor / wall:7.1%}")
    print(f"  between checkpoints    {idle / wall:7.1%}   waiting, loading, drawing")
    print(f"  disk, most             {disk.most / one:7.2f}   checkpoints, where --max-disk allows {limit / one:g}")
    print(f"  the same again         {again:7.1f} s {len(requests)} requests: {', '.join(requests)}")
    assert sampling / wall > 0.9
    assert disk.most < limit + one
    assert again < 5
    assert requests == ["/api/models/org/twelve/refs", "/api/datasets/org/text"]


def resident(running: Started, folder: Path) -> dict[int, float]:
    """Megabytes that the process has in memory after so many checkpoints, until it ends."""
    process, results = psutil.Process(running.pid), {}
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            results[len(list(folder.glob("points/*/estimate.json")))] = process.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    return results


def test_memory_over_154_revisions(starter: Starter) -> None:
    fixed = "--gamma 1000 --lr 1e-4 --sampler sgld-lm --start anchor --output-dir pythia --max-disk 1MB --json"
    running = starter("org/pythia", "--dataset", "org/text", *QUICK.split(), *fixed.split(), cold=True)
    result = resident(running, starter.place / "pythia")
    assert running.finish(LONGEST).code == 0
    shown = {count: result[count] for count in (10, 50, 100, 150)}
    print("\nMemory after so many of 154 revisions: " + ", ".join(f"{n}: {mb:.0f} MB" for n, mb in shown.items()))
    assert result[150] < 1.05 * result[10]


def test_common_random_numbers(tmp_path: Path) -> None:
    """Standard error of λ̂(b) − λ̂(a) between neighbours of the demonstration, against that of independent seeds."""
    demo_model(tmp_path, DemoSize().checkpoints[-1], keep=DemoSize().checkpoints)
    curve = run_scan(
        Request(
            model=str(tmp_path / CHECKPOINTS),
            data=DataSettings(dataset=str(tmp_path / "text.jsonl"), context_length=DemoSize().shape.context),
            sampler=SamplerSettings(chains=CHAINS, draws=100, batch_size=8, threads=1, checks=False),
            output_dir=tmp_path / "scan",
        )
    )
    assert curve is not None
    by_chain = {point.step: [chain["llc"] for chain in record(point)["chains"]] for point in curve.points}
    steps = sorted(step for step in by_chain if step is not None)
    ratios = []
    print("\nStandard error of the difference of neighbours: independent seeds, common random numbers")
    for a, b in itertools.pairwise(steps):
        apart = (statistics.variance(by_chain[a]) + statistics.variance(by_chain[b])) ** 0.5
        together = statistics.stdev(y - x for x, y in zip(by_chain[a], by_chain[b], strict=True))
        ratios.append(apart / together)
        scale = CHAINS**0.5
        print(f"  {a:5} → {b:5}   {apart / scale:8.3f}   {together / scale:8.3f}   {ratios[-1]:5.2f} times smaller")
    print(f"  median {statistics.median(ratios):.2f}, {sum(ratio > 2 for ratio in ratios)} of {len(ratios)} above 2")
    assert statistics.median(ratios) > 1.5


def record(point: Any) -> dict[str, Any]:
    result: dict[str, Any] = point.to_dict()["estimate"]
    return result
