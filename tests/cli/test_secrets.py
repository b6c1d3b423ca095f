"""No secret in what is printed or kept, with debugging on, whatever command and whichever library writes it."""

import base64
import json
import logging
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from hf_llc.execution import redaction
from hf_llc.execution.distributed.secret import VARIABLE
from hf_llc.execution.redaction import redacted
from tests.helpers.command_line import SMALL, Ran, Run
from tests.helpers.tiny_model import jsonl, read_files
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer

TOKEN = "hf_" + "Q1w2E3r4T5y6U7i8O9p0" + "AsDfGhJkLzXcVb"
LAUNCH = "the secret of a launch, 7f3a9c"
OTHER = "aws/Secret+Key=0123456789"


@pytest.fixture
def prepared_hub(hub: HubServer, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with a model and a text of alice, who uses TOKEN, with debugging on as her messages advise."""
    monkeypatch.setenv("HF_DEBUG", "1")
    hub.users[TOKEN] = hub.users["hf_test"]
    use_hub(monkeypatch, hub.url, tmp_path / "hf_home", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_DEBUG", True)
    monkeypatch.setenv(VARIABLE, LAUNCH)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", OTHER)
    hub.add_model("alice/tiny", read_files(tiny))
    hub.add_dataset("org/text", {"train.jsonl": jsonl(120)})
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "httpx2", "httpcore2", "datasets", "filelock")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield hub
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def is_clean(ran: Ran, logged: str, folder: Path) -> None:
    """Fails if a secret stands in what was printed, logged or left on the disk."""
    everything = ran.out + ran.err + logged
    for secret in (TOKEN, TOKEN[:20], LAUNCH, OTHER, base64.b64encode(TOKEN.encode()).decode()):
        assert secret not in everything
        kept = [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        assert not kept


ESTIMATE = ["estimate", "alice/tiny", "--dataset", "org/text", *SMALL]
COMMANDS = {
    "job": [*ESTIMATE, "--push-to-hub", "--hf-job", "a10g-small", "--hf-job-timeout", "1h"],
    "estimate": [*ESTIMATE, "--output-dir", "run"],
    "push": [*ESTIMATE, "--output-dir", "run", "--push-to-hub", "--yes", "--json"],
    "scan": ["scan", "alice/tiny", "--revisions", "main", "--dataset", "org/text", *SMALL, "--output-dir", "scan"],
    "revisions": ["revisions", "alice/tiny", "--json"],
    "show": ["show", "hf://alice/none"],
    "publish": ["publish", "nothing", "--yes"],
    "compare": ["compare", "hf://alice/none", "hf://alice/tiny"],
    "model": ["estimate", f"https://user:{TOKEN}@127.0.0.1/alice/tiny", "--dataset", "org/text"],
    "option": [*ESTIMATE, "--text-column", TOKEN],
    "usage": [*ESTIMATE, "--no-such-option", TOKEN],
    "package": [*ESTIMATE, "--push-to-hub", "--hf-job", "l4x1", "--hf-job-package", f"x @ git+https://u:{TOKEN}@h/x"],
}


def test_no_command_shows_or_keeps_a_secret(
    run: Run,
    prepared_hub: HubServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent = 0
    for name, arguments in COMMANDS.items():
        try:
            ran = run(*arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001  debugging lets any through; what shows it is asked
            sys.excepthook(type(error), error, error.__traceback__)
            out, err = capsys.readouterr()
            ran = Ran(1, out, err)
        sent += caplog.text.count("Send: curl")
        assert name == "model" or "Traceback" in ran.err or ran.code in {0, 2}, ran.err
        is_clean(ran, caplog.text, tmp_path)
        caplog.clear()
    assert sent > 20
    assert prepared_hub.jobs[0]["secrets"] == {"HF_TOKEN": TOKEN}


CASES = [
    (f'curl -d \'{{"secrets": {{"HF_TOKEN": "{TOKEN}"}}}}\'', TOKEN[:12]),
    (f"body: {TOKEN[:9]} ... [truncated]", TOKEN[:9]),
    ("-H 'authorization: Bearer abcdefghijk'", "abcdefghijk"),
    ("{'authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz"),
    ("see https://user:pass@host/x and git+https://tok123@host/y", "pass"),
    ("see https://user:pass@host/x and git+https://tok123@host/y", "tok123"),
    ("GET https://cdn/x?token=abc123def&X-Amz-Signature=0a1b2c", "0a1b2c"),
    ("hf_abcdefghijABCDEFGHIJ0123456789", "abcdefghij"),
    (f"a {LAUNCH} b", LAUNCH),
    (f"{json.dumps(OTHER)} aws%2FSecret%2BKey%3D0123456789", "0123456789"),
]


@pytest.mark.parametrize(("text", "secret"), CASES)
def test_secrets_are_known_by_value_place_or_shape(text: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv(VARIABLE, LAUNCH)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", OTHER)
    clean = redacted(text)
    assert secret not in clean
    assert redaction.HIDDEN in clean


@pytest.mark.parametrize(
    "text",
    [
        "hf://gpt2@main and hf://org/model@step512, org/model@v1",
        "hf_llc_version: 0.1.0, hf-llc-runs/hf_llc",
        "https://huggingface.co/org/model@main?x=1",
        "the bearer of news; basic settings; tokens=64; eos_token: <|endoftext|>",
        "ssh://git@github.com/org/x",
        "a" * 64,
    ],
)
def test_what_is_no_secret_stays(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("HF_TOKEN_PATH", "/home/me/token")
    monkeypatch.setenv("SOME_API_KEY", "short")
    assert redacted(text) == text


def test_tokens_in_files_of_the_client_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert "first-of-them" in redacted("first-of-them")
    (tmp_path / "token").write_text("first-of-them\n")
    (tmp_path / "stored_tokens").write_text("[mine]\nhf_token = second-of-them\n\n[x]\nhf_token=third-of-them\n")
    clean = redacted("first-of-them, second-of-them, third-of-them; mine, hf_token")
    assert clean == "<hidden>, <hidden>, <hidden>; mine, hf_token"


def test_a_secret_in_another_encoding_than_utf8_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = os.fsdecode("pässwörter".encode("latin-1") * 2)
    monkeypatch.setenv("DATABASE_PASSWORD", secret)
    coded = base64.b64encode(os.fsencode(secret)).decode()
    assert redacted(f"plain, {secret}, {coded}") == "plain, <hidden>, <hidden>"


def test_a_token_file_without_a_time_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("token-of-1970")
    os.utime(tmp_path / "token", ns=(0, 0))  # as some packers of files leave it
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    assert redacted("token-of-1970") == "<hidden>"


def test_a_log_line_is_clean_wherever_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    import_module("hf_llc.cli.app")
    redaction.watch_logs()
    record = logging.getLogger("any").makeRecord("any", 10, "file", 1, "sent %s %d%%", (TOKEN, 3), None)
    assert record.getMessage() == "sent <hidden> 3%"
    untouched = logging.getLogger("any").makeRecord("any", 10, "file", 1, "sent %s", ("x",), None)
    assert (untouched.msg, untouched.args) == ("sent %s", ("x",))
