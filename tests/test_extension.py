"""`hf extensions install OWNER/hf-llc`, by the installed client itself: this checkout in place of the network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from httpx2 import HTTPStatusError, Request, Response
from huggingface_hub.cli import extensions
from huggingface_hub.cli.hf import app

from tests.test_packaging import ROOT, SETUP

RAW = "https://raw.githubusercontent.com/me/hf-llc/HEAD/"
COMMIT = "a" * 40


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands by which the client would install; requests are answered with the files of this checkout."""
    ran: list[list[str]] = []

    def get(method: str, url: str, **options: Any) -> Response:
        path = ROOT / url.removeprefix(RAW)
        if not url.startswith(RAW) or not path.is_file():
            request = Request(method, url)
            raise HTTPStatusError("404", request=request, response=Response(404, request=request))
        return Response(200, content=path.read_bytes())

    def install(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        ran.append(arguments)
        script = tmp_path / "hf-llc" / "venv" / "bin" / "hf-llc"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.unlink(missing_ok=True)
        script.symlink_to(Path(sys.executable).parent / "hf-llc")
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(extensions, "EXTENSIONS_ROOT", tmp_path)
    monkeypatch.setattr(extensions, "_github_request", get)
    monkeypatch.setattr(extensions, "_fetch_latest_commit_sha", lambda **named: COMMIT)
    monkeypatch.setattr(extensions, "_can_run", lambda python: True)
    monkeypatch.setattr(subprocess, "run", install)
    return ran


def test_the_manifest_says_what_the_package_says() -> None:
    manifest = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == {"name": SETUP["project"]["name"], "description": SETUP["project"]["description"]}


def test_the_client_installs_this_checkout_and_finds_the_command(checkout: list[list[str]], tmp_path: Path) -> None:
    owner, name, short = extensions._normalize_repo_id("me/hf-llc")
    extensions._install_extension(owner=owner, repo_name=name, short_name=short)
    manifest = extensions.ExtensionManifest.load(tmp_path / "hf-llc")
    assert (manifest.short_name, manifest.type, manifest.commit_sha) == ("llc", "python", COMMIT)
    assert manifest.description == SETUP["project"]["description"]
    assert checkout[-1][-1] == "https://github.com/me/hf-llc/archive/HEAD.zip"
    assert [each.short_name for each in extensions._list_installed_extensions()] == ["llc"]
    assert extensions._resolve_installed_executable_path("llc").name == "hf-llc"


def test_the_name_is_none_of_the_clients_own() -> None:
    listed = {name for names in getattr(app, "commands", {}) for name in str(names).split(" | ")}
    assert "ext" in listed
    assert "llc" not in listed
