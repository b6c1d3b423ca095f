"""One run on two hosts that share no disk, by the Slurm script of the documentation: the numbers of one host."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hf_llc import DataSettings, SamplerSettings, estimate
from tests.helpers.network_namespaces import Host, NotPermittedError, two_hosts
from tests.helpers.tiny_model import jsonl, save_tiny_model
from tests.hub_server.environment import client_environment
from tests.reference import DOCS

pytestmark = pytest.mark.processes

SAMPLER = SamplerSettings(
    sampler="sgld-lm", gradient="minibatch", batches="independent", gamma=1000, lr=1e-4,
    batch_size=8, chains=4, draws=20, burn_in=10, threads=1, checks=False,
)  # fmt: skip
OPTIONS = (
    "--sampler sgld-lm --gradient minibatch --batches independent --gamma 1000 --lr 1e-4 "
    "--batch-size 8 --chains 4 --draws 20 --burn-in 10 --threads 1 --no-checks --json --output-dir run"
)
CLOCK = ("seconds", "load_seconds", "run_dir")
LONGEST = 120.0

SRUN = """#!/bin/bash
# A task on each of two hosts, as srun starts them: with its number, and here with the disk of its host.
on() {{
    cd {place}/host$1 && export SLURM_NNODES=2 SLURM_NTASKS=2 SLURM_NODEID=$1 SLURM_PROCID=$1 SLURM_LOCALID=0
    export HF_HOME={place}/host$1/home HF_HUB_CACHE={place}/host$1/home/hub
    exec "${{@:2}}" >out 2>err
}}
(on 0 {first} "$@") & one=$!
(on 1 {second} "$@") & other=$!
wait $one && wait $other
"""


@pytest.fixture
def hosts() -> Iterator[tuple[list[Host], str | None]]:
    """Two hosts; where that is not permitted, two that share the network of this machine, and why."""
    try:
        with two_hosts() as results:
            yield results, None
    except NotPermittedError as error:
        yield [Host((), "127.0.0.1")] * 2, str(error)


def slurm_script() -> str:
    """The job as the guide has it, but for a model that can be had here, and a process for each host."""
    text = (DOCS / "guides/devices.md").read_text(encoding="utf-8")
    script = text.split("<!-- slurm: begin -->\n```bash\n")[1].split("```\n<!-- slurm: end -->")[0]
    asked = f"model --dataset text.jsonl {OPTIONS}"
    assert script.count("EleutherAI/pythia-70m --num-processes 16") == 1
    return script.replace("EleutherAI/pythia-70m --num-processes 16", f"{asked} --num-processes 2")


def make_executable(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def job(tmp_path: Path, hosts: tuple[list[Host], str | None]) -> list[str]:
    """The command that runs the job, in a folder with the disks of both hosts and what Slurm has installed."""
    for host in range(2):
        save_tiny_model(tmp_path / f"host{host}" / "model")
        lines = jsonl(200)
        (tmp_path / f"host{host}" / "text.jsonl").write_text(lines)
    first, second = (shlex.join(host.enter) for host in hosts[0])
    make_executable(tmp_path / "bin/srun", SRUN.format(place=tmp_path, first=first, second=second))
    addresses = "\n".join(host.address for host in hosts[0])
    make_executable(tmp_path / "bin/scontrol", f"#!/bin/bash\necho '{addresses}'\n")
    make_executable(tmp_path / "bin/hf-llc", f'#!/bin/bash\nexec {sys.executable} -m hf_llc.cli "$@"\n')
    (tmp_path / "job.sh").write_text(slurm_script())
    return ["bash", "job.sh"]


def run(command: list[str], place: Path) -> None:
    """Runs it to its end; fails if it ends badly, and leaves nothing running."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "COV_", "PYTEST"))}
    environment = kept | client_environment("http://127.0.0.1:9", place / "home")
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
    # Only the store's port need be reachable: torch is shown an interface by which no other host can be.
    environment |= {"GLOO_SOCKET_IFNAME": "lo"}
    environment |= {"PATH": f"{place / 'bin'}:{environment['PATH']}", "SLURM_JOB_NODELIST": "host[0-1]"}
    running = subprocess.Popen(command, cwd=place, env=environment, start_new_session=True)
    try:
        code = running.wait(LONGEST)
    finally:
        for process in psutil.process_iter(["cwd"]):
            if (process.info["cwd"] or "").startswith(str(place)):
                process.kill()
    if code != 0:
        errors = [(place / f"host{host}/err").read_text() for host in range(2)]
        pytest.fail("\n".join(["The job failed.", *errors]))


def parts(folder: Path) -> dict[str, bytes]:
    """Every part of a run, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.json"))}


def timeless(content: bytes) -> dict[str, Any]:
    """What a part says, but for what is measured by the clock or names the folder."""
    return {name: value for name, value in json.loads(content)["payload"].items() if name not in CLOCK}


def test_two_hosts_that_share_no_disk_give_the_numbers_of_one(
    job: list[str], hosts: tuple[list[Host], str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job, tmp_path)
    first, second = (parts(tmp_path / f"host{host}/run") for host in range(2))
    printed = json.loads((tmp_path / "host0/out").read_text())
    assert (tmp_path / "host1/out").read_text() == ""
    assert (tmp_path / "host0/err").read_text().count("n_beta = ") == 1
    # Seconds are in them: equal bytes are of one part that was made on one host.
    assert {name: content for name, content in first.items() if name not in {"estimate.json", "traces.json"}} == second
    monkeypatch.chdir(tmp_path / "host0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    alone = estimate("model", DataSettings(dataset="text.jsonl"), SAMPLER, output_dir=Path("alone"))
    assert printed["llc"] == alone.llc
    assert {name: timeless(content) for name, content in first.items()} == {
        name: timeless(content) for name, content in parts(Path("alone")).items()
    }
    if hosts[1] is not None:
        pytest.skip(
            f"held on one network; two would need network namespaces, which this system does not permit: {hosts[1]}"
        )
