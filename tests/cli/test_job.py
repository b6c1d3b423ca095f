"""`--hf-job`: the command goes to the Hub's Jobs, whole, with its token as a secret, or it is refused before."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from hf_llc.integrations import hf_jobs_client
from tests.helpers.command_line import SMALL, Run, refused
from tests.helpers.tiny_model import jsonl, read_files
from tests.hub_server.server import HubServer

TOKEN = "hf_test"


@pytest.fixture
def prepared_hub(hub: HubServer, tiny: Path) -> HubServer:
    """A Hub with the model `alice/tiny` and the dataset `org/text`."""
    hub.add_model("alice/tiny", read_files(tiny))
    lines = jsonl(120)
    hub.add_dataset("org/text", {"train.jsonl": lines})
    return hub


ESTIMATE = ["estimate", "alice/tiny", "--dataset", "org/text", "--push-to-hub", *SMALL]
JOB = ["--hf-job", "a10g-small"]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the command line makes of a command's words."""
    group: Any = get_command(import_module("hf_llc.cli.app").app)
    command = group.commands[arguments[0]]
    params: dict[str, Any] = command.make_context(arguments[0], arguments[1:]).params
    return params


def test_the_command_is_the_users_own_and_does_its_work_as_it_is(run: Run, prepared_hub: HubServer) -> None:
    ran = run(*ESTIMATE[:2], "--hf-job=a10g-small", *ESTIMATE[2:], "--hf-job-timeout", "90m", "--json")
    assert ran.code == 0, ran.err
    (job,) = prepared_hub.jobs
    assert job["command"][:3] == ["uv", "run", "--with"]
    assert job["command"][4] == "hf-llc"
    arguments = job["command"][5:]
    assert arguments == [*ESTIMATE, "--json"]
    assert parsed(arguments) == parsed([*ESTIMATE, "--json"])
    assert ran.json["command"] == ["hf-llc", *arguments]
    assert (job["flavor"], job["timeoutSeconds"]) == ("a10g-small", 5400)
    there_now = run(*arguments)
    assert there_now.code == 0, there_now.err
    assert there_now.json["llc"] is not None
    repo = prepared_hub.find("model", "alice/tiny")
    assert repo is not None
    assert "llc/results.jsonl" in repo.at().files


def test_json_says_where_it_runs(run: Run, prepared_hub: HubServer) -> None:
    result = run(*ESTIMATE, *JOB, "--hf-job-timeout", "2d", "--json").json
    assert result.keys() == {"schema", "job", "url", "flavor", "timeout", "command"}
    assert result["url"] == f"{prepared_hub.url}/jobs/alice/{result['job']}"
    assert (result["schema"], result["timeout"]) == (1, 172800)
    quiet = run(*ESTIMATE, *JOB, "--hf-job-timeout", "2d", "-q")
    assert (quiet.code, len(quiet.out.strip())) == (0, 24)
    human = run(*ESTIMATE, *JOB, "--hf-job-timeout", "2d")
    assert f"{prepared_hub.url}/jobs/alice/" in human.out


def test_the_token_is_a_secret_and_nothing_else(run: Run, prepared_hub: HubServer, tmp_path: Path) -> None:
    ran = run(*ESTIMATE, *JOB, "--hf-job-timeout", "1h")
    (job,) = prepared_hub.jobs
    assert job.pop("secrets") == {"HF_TOKEN": TOKEN}
    assert TOKEN not in json.dumps(job)
    assert TOKEN not in ran.out + ran.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    line = refused(run(*ESTIMATE, *JOB, "--hf-job-timeout", "1h", "--text-column", TOKEN), 2, "contains the token")
    assert TOKEN not in line
    assert len(prepared_hub.jobs) == 1


def test_the_time_follows_from_the_length_of_an_estimate_and_is_said(run: Run, prepared_hub: HubServer) -> None:
    ran = run(*ESTIMATE, *JOB, "--json")
    assert ran.json["timeout"] == prepared_hub.jobs[0]["timeoutSeconds"] == 3600
    assert "The job will be stopped after 60 minutes; change that with --hf-job-timeout." in ran.err
    # 3.7e5 times the draws.
    longer = run(*ESTIMATE, "--draws", 3_000_000, "--hf-job", "cpu-basic", "--json").json
    assert longer["timeout"] > 3600
    assert longer["timeout"] % 3600 == 0


def test_a_scan_is_sent_too_with_twelve_hours(run: Run, prepared_hub: HubServer) -> None:
    arguments = ["scan", "alice/tiny", "--revisions", "main", "--dataset", "org/text", "--push-to-hub", *SMALL]
    assert run(*arguments, *JOB, "--json").json["timeout"] == 12 * 3600
    assert prepared_hub.jobs[0]["command"][5:] == [*arguments, "--json"]


def test_a_bucket_is_mounted_where_the_command_writes(run: Run, prepared_hub: HubServer) -> None:
    arguments = [*ESTIMATE[:4], *SMALL, "--output-dir", "/results/tiny"]
    ran = run(*arguments, *JOB, "--hf-job-timeout", "1h", "--hf-job-bucket", "alice/runs")
    assert ran.code == 0, ran.err
    (job,) = prepared_hub.jobs
    (volume,) = job["volumes"]
    assert (volume["type"], volume["source"], volume["mountPath"]) == ("bucket", "alice/runs", "/results")
    assert not volume.get("readOnly")
    assert job["command"][5:] == arguments


REFUSED = [
    (ESTIMATE[:4], "The disk of a job is deleted when it ends: give --push-to-hub"),
    ([*ESTIMATE[:4], "--output-dir", "/results/x"], "--output-dir /results/x needs --hf-job-bucket"),
    (
        [*ESTIMATE, "--hf-job-bucket", "alice/runs"],
        "--hf-job-bucket is mounted at /results in the job: give --output-dir",
    ),
    ([*ESTIMATE, "--settings", "here.json"], "--settings here.json is a local file.*give its settings"),
    (["estimate", "./model", *ESTIMATE[2:]], r"\./model is local.*hf upload"),
    ([*ESTIMATE, "--dataset", "./text.jsonl"], r"--dataset \./text.jsonl is local.*hf upload"),
    (
        [
            *ESTIMATE,
            "--num-machines",
            "2",
            "--num-processes",
            "2",
            "--machine-rank",
            "0",
            "--main-process-ip",
            "10.0.0.1",
        ],
        "--hf-job starts one machine: leave out --num-machines",
    ),
    ([*ESTIMATE, "--dry-run"], "--dry-run and --hf-job exclude each other"),
    ([*ESTIMATE, "--hf-job-timeout", "9" * 400 + "d"], "--hf-job-timeout must be a time above 0 .*got '9999"),
    (
        [*ESTIMATE, "--hf-job-timeout", "soon"],
        "--hf-job-timeout must be a time above 0 such as 90m, 6h or 2d, got 'soon'",
    ),
    ([*ESTIMATE, "--text-column", "body.yaml"], "body.yaml would be read as a local file"),
    ([*ESTIMATE, "--text-column", "text.jsonl"], "text.jsonl is a local file, which a job cannot see"),
    ([*ESTIMATE, "--hf-job", "a10g-smal"], "No hardware --hf-job a10g-smal; did you mean a10g-small"),
    (["scan", *ESTIMATE[1:], "--revisions", "@names.txt"], "--revisions @names.txt is a local file"),
    (["scan", *ESTIMATE[1:], "--step-map", "text.jsonl"], "--step-map text.jsonl is a local file"),
]


@pytest.mark.parametrize(("arguments", "pattern"), REFUSED, ids=[pattern[:25] for _, pattern in REFUSED])
def test_what_a_job_could_not_do_is_refused_before_anything_is_sent(
    run: Run, prepared_hub: HubServer, arguments: list[str], pattern: str
) -> None:
    for name in ("text.jsonl", "names.txt"):
        Path(name).write_text("{}\n")
    Path("here.json").write_text("{}")
    Path("model").mkdir()
    refused(run(arguments[0], arguments[1], *JOB, *arguments[2:]), 2, pattern)
    assert not prepared_hub.requests("api/jobs", "POST")


def test_options_of_a_job_without_one_are_refused(run: Run, prepared_hub: HubServer) -> None:
    refused(run(*ESTIMATE, "--hf-job-timeout", "6h"), 2, "--hf-job-timeout needs --hf-job FLAVOR: add it")


def test_below_a_launcher_nothing_is_sent(run: Run, prepared_hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(run(*ESTIMATE, *JOB), 1, "must not run below a launcher")
    assert not prepared_hub.jobs


ANSWERS = [
    (401, 1, "does not know the token in use; log in"),
    (402, 1, r"none to spend \(402\); see .*/settings/billing"),
    (403, 1, r"may not start jobs \(403\); create one that may at .*/settings/tokens"),
    (404, 1, r"offers no jobs to this account, or has no such bucket \(404\)"),
    (422, 2, "refuses the job: "),
    (429, 1, "no job was started. Try again in a few minutes"),
    (500, 1, r"answered 500: whether a job was started is not known; look at .*/settings/jobs"),
]


@pytest.mark.parametrize(("status", "code", "pattern"), ANSWERS, ids=[str(status) for status, _, _ in ANSWERS])
def test_each_answer_of_the_hub_is_one_line_and_asked_for_once(
    run: Run, prepared_hub: HubServer, status: int, code: int, pattern: str
) -> None:
    prepared_hub.faults.add("api/jobs", "error", method="POST", status=status, times=9)
    refused(run(*ESTIMATE, *JOB, "--hf-job-timeout", "1h"), code, pattern)
    assert len(prepared_hub.requests("api/jobs/alice", "POST")) == 1


def test_an_account_without_credit_is_told_so(run: Run, prepared_hub: HubServer) -> None:
    prepared_hub.jobs_credit = False
    refused(run(*ESTIMATE, *JOB, "--hf-job-timeout", "1h"), 1, "Jobs cost money")


def test_the_job_installs_what_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        version = "1.2.3"
        origin: str | None = None

        def read_text(self, name: str) -> str | None:
            return self.origin

    here = Here()
    monkeypatch.setattr(hf_jobs_client, "distribution", lambda name: here)
    assert hf_jobs_client.package() == "hf-llc[peft]==1.2.3"
    here.origin = json.dumps({"url": "file:///home/me/hf-llc", "dir_info": {"editable": True}})
    assert hf_jobs_client.package() == "hf-llc[peft]==1.2.3"
    commit = "a" * 40
    here.origin = json.dumps({"url": "https://x.org/hf-llc", "vcs_info": {"vcs": "git", "commit_id": commit}})
    assert hf_jobs_client.package() == f"hf-llc[peft] @ git+https://x.org/hf-llc@{commit}"
    here.origin = json.dumps({"url": "https://x.org/hf-llc.zip", "archive_info": {}})
    assert hf_jobs_client.package() == "hf-llc[peft] @ https://x.org/hf-llc.zip"
