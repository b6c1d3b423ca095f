"""A model that two processes hold together: the numbers of one, in one group or two, killed, resumed and refused."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from hf_llc import DataSettings, SamplerSettings, estimate
from hf_llc.checkpoints.loading.layers import spread_over
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import LaunchError, SettingsError
from hf_llc.execution import planning
from hf_llc.execution.distributed import world
from hf_llc.execution.distributed.model_group import check_devices
from hf_llc.execution.plan import Plan
from hf_llc.execution.process_count import processes_for
from hf_llc.scans.request import Request
from hf_llc.scans.scan import run_scan
from tests.helpers.command_line import Ran, files_of
from tests.helpers.processes import Starter, starting
from tests.helpers.tiny_model import save_tiny_model
from tests.measures.llc.test_processes import parts

pytestmark = pytest.mark.processes

SAMPLER = SamplerSettings(batch_size=8, chains=2, draws=8, burn_in=6, threads=1)
OPTIONS = "--batch-size 8 --chains 2 --draws 8 --burn-in 6 --threads 1 --json"
TORCHRUN = "torchrun --nproc-per-node 2 --standalone --no-python"
CROSS = ("--cross-check", "lanczos")
SHORT = ("--no-checks", "--chains", 4)
CLOSED = (
    "--gamma 1000 --lr 1e-5 --sampler sgld-lm --start anchor --gradient control-variate --batches reshuffled "
    "--no-checks"
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts commands on tiny models and a text; what a failed test leaves running is ended."""
    place = tmp_path_factory.mktemp("devices")
    for step in (1, 3):
        save_tiny_model(place / "series" / f"checkpoint-{step}", step)
    damaged = save_tiny_model(place / "series" / "checkpoint-2", 2)
    (damaged / "model.safetensors").write_bytes(b"broken")
    with starting(place, []) as starter:
        yield starter


def arguments(command: str, model: str, *more: object) -> list[object]:
    return [command, model, "--dataset", "text.jsonl", *OPTIONS.split(), "--device", "cpu", *more]


@pytest.fixture(scope="module")
def alone(start: Starter) -> dict[str, Any]:
    """The estimate of `together` in one process, this one."""
    sampler = replace(SAMPLER, cross_check="lanczos")
    with start.inside():
        result = estimate("model", DataSettings(dataset="text.jsonl"), sampler, output_dir=Path("alone"), device="cpu")
    return dict(result.to_dict())


@pytest.fixture(scope="module")
def together(start: Starter) -> Ran:
    """The estimate by one group of two."""
    return start(*arguments("estimate", "model", "--devices-per-chain", 2, *CROSS, "--output-dir", "together")).finish()


def test_two_devices_have_the_numbers_of_one(start: Starter, alone: dict[str, Any], together: Ran) -> None:
    assert together.code == 0, together.err
    assert together.complaints == []
    json = together.json
    assert json["llc"] == pytest.approx(alone["llc"], abs=1e-3 * alone["stderr"])
    for name in ("stderr", "init_loss"):
        assert json[name] == pytest.approx(alone[name], rel=1e-3), name
    assert json["diagnostics"].keys() == alone["diagnostics"].keys()
    for name, value in alone["diagnostics"].items():
        expected = None if value is None else pytest.approx(value, rel=1e-2, abs=1e-3)
        assert json["diagnostics"][name] == expected, name
    for name in ("llc", "stderr", "lowest", "highest"):
        assert json["cross_check"][name] == pytest.approx(alone["cross_check"][name], rel=1e-3), name
    result = dict(alone["settings"])
    assert json["settings"].pop("devices_per_chain") == 2
    assert result.pop("devices_per_chain") == 1
    assert json["settings"] == result
    mine, its = parts(start.place / "together"), parts(start.place / "alone")
    for name in sorted(its):
        if name.startswith(("chains/", "checks/")):
            assert mine[name]["losses"] == pytest.approx(its[name]["losses"], abs=2e-5), name
            assert mine[name]["squared_distances"] == pytest.approx(its[name]["squared_distances"], rel=1e-4), name


def test_two_devices_have_the_numbers_of_one_under_a_relative_prior(start: Starter) -> None:
    asked = [*CLOSED.split(), "--prior", "relative"]
    one, two = (
        start(
            *arguments("estimate", "model", *asked, "--devices-per-chain", count, "--output-dir", f"r{count}")
        ).finish()
        for count in (1, 2)
    )
    assert (one.code, two.code) == (0, 0), one.err + two.err
    assert two.json["llc"] == pytest.approx(one.json["llc"], abs=1e-3 * one.json["stderr"])
    assert two.json["diagnostics"]["distance"] == pytest.approx(one.json["diagnostics"]["distance"], rel=1e-4)
    assert two.json["choices"]["prior"] == one.json["choices"]["prior"]


@pytest.fixture(scope="module")
def own(start: Starter) -> Ran:
    """A shorter estimate by one group of two, below a launcher of the user's own."""
    command = arguments("estimate", "model", *SHORT, "--devices-per-chain", 2, "--output-dir", "own")
    return start(*command, launcher=TORCHRUN.split()).finish()


def test_a_launch_of_the_users_own_makes_a_group_and_prints_once(own: Ran) -> None:
    assert own.code == 0, own.err
    assert own.json["settings"]["devices_per_chain"] == 2
    assert own.err.count("gamma = ") == 1


def test_two_groups_go_on_where_a_killed_one_was(start: Starter, own: Ran) -> None:
    folder = start.place / "killed"
    command = arguments("estimate", "model", *SHORT, "--devices-per-chain", 2, "--output-dir", "killed")
    running = start(*command)
    running.wait_until(lambda: any(name.startswith("chains/") for name in files_of(folder)))
    workers = running.family()
    assert running.kill() == -signal.SIGKILL
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    kept = {name: stat for name, stat in files_of(folder).items() if name.startswith(("chains/", "anchor/"))}
    assert sum(name.startswith("chains/") for name in kept) < 4
    again = start(*command, "--num-processes", 4).finish()
    assert again.code == 0, again.err
    assert again.json["llc"] == own.json["llc"]
    assert parts(folder) == parts(start.place / "own")
    assert kept.items() <= files_of(folder).items()


def test_a_killed_process_ends_its_group_with_one_line(start: Starter) -> None:
    running = start(*arguments("estimate", "model", "--devices-per-chain", 2, "--output-dir", "lost", "--draws", 4000))
    running.wait_until(lambda: (start.place / "lost" / "resolved.json").exists())
    running.family()[-1].kill()
    ran = running.finish()
    assert ran.code == 1
    assert ran.out == ""
    assert len(ran.complaints) == 1
    assert "killed by signal 9" in ran.complaints[0]


def test_an_error_of_the_first_process_is_told_once(start: Starter, own: Ran) -> None:
    other = arguments("estimate", "model", *SHORT, "--devices-per-chain", 2, "--output-dir", "own", "--seed", 1)
    ran = start(*other).finish()
    assert ran.code == 1
    assert len(ran.complaints) == 1
    assert "holds a run with other inputs (sampler.seed: there 0, here 1)" in ran.complaints[0]


def test_a_scan_goes_on_after_a_checkpoint_that_no_process_of_the_group_can_read(start: Starter) -> None:
    command = arguments("scan", "series", *CLOSED.split(), "--devices-per-chain", 2, "--output-dir", "scan")
    ran = start(*command).finish()
    assert ran.code == 1, ran.err
    first, second, third = ran.json["points"]
    assert "broken" in second["error"] or "damaged" in second["error"] or "safetensors" in second["error"]
    for point, step in ((first, 1), (third, 3)):
        assert point["error"] is None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(start.place)
            sampler = replace(
                SAMPLER, gamma=1000, lr=1e-5, sampler="sgld-lm", start="anchor", gradient="control-variate",
                batches="reshuffled", baseline="paired", checks=False,
            )  # fmt: skip
            name = f"series/checkpoint-{step}"
            result = estimate(name, DataSettings(dataset="text.jsonl"), sampler, output_dir=Path(f"alone-{step}"))
        assert result.stderr is not None
        assert point["llc"] == pytest.approx(result.llc, abs=1e-3 * result.stderr)


def a_plan(folder: Path, device: str = "cpu") -> Plan:
    source = ModelSource(id="m", revision=None, sha="sha256:0", step=None, path=folder)
    corpus = Corpus(
        id="t", config=None, split="train", revision="sha256:0", text_column="text", fingerprint="f", n=64,
        context_length=8, path=folder,
    )  # fmt: skip
    sampler = SamplerSettings(devices_per_chain=2)
    return Plan(
        source=source, corpus=corpus, sampler=sampler, device=device, dtype="float32", threads=1, run_dir=folder
    )


def test_processes_make_whole_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = a_plan(tmp_path)
    assert processes_for([plan], 4) == 4
    assert processes_for([plan], None) == 2
    with pytest.raises(SettingsError, match=r"num_processes must be a multiple of `devices_per_chain` = 2, got 3"):
        processes_for([plan], 3)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 7)
    on_gpus = replace(plan, device="cuda")
    assert processes_for([on_gpus], None) == 6
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(LaunchError, match=r"devices_per_chain must be ≤ 1, the GPUs of this machine, got 2"):
        processes_for([on_gpus], None)
    with pytest.raises(SettingsError, match="not on mps"):
        processes_for([replace(plan, device="mps")], None)


def test_a_launch_that_makes_no_groups_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WORLD_SIZE": 3,
        "RANK": 0,
        "LOCAL_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 9,
    }.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(LaunchError, match=r"processes must be a multiple of `devices_per_chain` = 2, got 3"):
        world.join_launch("cpu", 2)
    with pytest.raises(LaunchError, match="works on one machine"):
        check_devices("cuda", machines=2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(LaunchError, match="Hide them with CUDA_VISIBLE_DEVICES="):
        check_devices("cpu", machines=1)


def test_a_run_on_two_devices_has_a_key_of_its_own(tmp_path: Path) -> None:
    two = a_plan(tmp_path)
    one = replace(two, sampler=SamplerSettings())
    assert "devices_per_chain" not in one.inputs()["sampler"]
    assert two.inputs()["sampler"]["devices_per_chain"] == 2
    assert one.key != two.key


def test_what_does_not_go_together_is_refused(start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = a_plan(tmp_path)
    with pytest.raises(SettingsError, match="needs `dtype=float32`"):
        SamplerSettings(devices_per_chain=2, dtype="bfloat16")
    with pytest.raises(SettingsError, match="devices_per_chain must be ≥ 1, got 0"):
        SamplerSettings(devices_per_chain=0)
    with pytest.raises(SettingsError, match="GGUF file, which transformers cannot spread"):
        planning.plan_for(replace(plan.source, gguf_file="m.gguf"), plan.corpus, plan.sampler, "cpu")
    with pytest.raises(SettingsError, match=r"With `devices_per_chain` a scan cannot measure .*set `gamma`"):
        run_scan(Request(model="series", sampler=plan.sampler, device="cpu"))
    monkeypatch.chdir(start.place)
    asked = SamplerSettings(batch_size=4, devices_per_chain=2)
    with pytest.raises(SettingsError, match="this is a single process"):
        estimate("model", DataSettings(dataset="text.jsonl"), asked, output_dir=tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("config", "layers"), [(GPT2Config(n_layer=2), "transformer.h"), (LlamaConfig(num_hidden_layers=2), "model.layers")]
)
def test_layers_are_made_whole_one_after_the_other(tmp_path: Path, config: Any, layers: str) -> None:
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    assert spread_over(2, a_plan(tmp_path).source, model).fsdp_plan == {f"{layers}.*": "free_full_weight"}
