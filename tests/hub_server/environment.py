"""Points the Hugging Face clients at a local Hub and at an empty cache."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CLIENTS = ("datasets", "huggingface_hub", "transformers")
# These copy a constant at import; imported later, while it is replaced, they would keep the replacement for good.
COPIERS = ("utils._cache_assets", "utils._cache_manager", "utils._git_credential", "utils.tqdm", "utils._detect_agent")


def client_environment(url: str, home: Path, token: str | None = "hf_test") -> dict[str, str]:
    """The variables with which a subprocess talks to the Hub at `url` only and keeps all its files below `home`."""
    return {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_MODULES_CACHE": str(home / "modules"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_TOKEN": token or "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_OIDC_RESOURCE": "",
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_ETAG_TIMEOUT": "10",
        "HF_HUB_DOWNLOAD_TIMEOUT": "10",
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "NO_COLOR": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def client_constants(url: str, home: Path) -> dict[str, Any]:
    """What the clients compute from that environment when they are imported."""
    hub, data = str(home / "hub"), home / "datasets"
    return {
        "ENDPOINT": url,
        "HF_ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HUB_DATASETS_URL": url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_HOME": str(home),
        "HF_CACHE_HOME": str(home),
        "HF_HUB_CACHE": hub,
        "HUGGINGFACE_HUB_CACHE": hub,
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HUGGINGFACE_ASSETS_CACHE": str(home / "assets"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "AGENT_HARNESSES_PATH": str(home / ".agent_harnesses.json"),
        "CHECK_FOR_UPDATE_DONE_PATH": str(home / ".check_for_update_done"),
        "CHECK_FOR_SKILL_UPDATE_DONE_PATH": str(home / ".check_for_skill_update_done"),
        "HF_DATASETS_CACHE": data,
        "HF_MODULES_CACHE": str(home / "modules"),
        "DOWNLOADED_DATASETS_PATH": data / "downloads",
        "EXTRACTED_DATASETS_PATH": data / "downloads" / "extracted",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_UPDATE_CHECK": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_DATASETS_DISABLE_PROGRESS_BARS": True,
        "HF_UPDATE_DOWNLOAD_COUNTS": False,
    }


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, home: Path, token: str | None = "hf_test") -> None:
    """Point the clients of this process, imported or not, and its subprocesses at the Hub at `url`."""
    hub = importlib.import_module("huggingface_hub")
    for name in COPIERS:
        importlib.import_module(f"huggingface_hub.{name}")
    for name, value in client_environment(url, home, token).items():
        monkeypatch.setenv(name, value)
    constants = client_constants(url, home)
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] in CLIENTS]:
        patch(monkeypatch, module, constants)
    monkeypatch.setattr(hub.hf_api.api, "endpoint", url)
    monkeypatch.setattr(hub.hf_api.api, "_whoami_cache", {})
    detect = sys.modules["huggingface_hub.utils._detect_agent"]
    monkeypatch.setattr(detect, "_registry", {"standardEnvVars": [], "harnesses": {}})
    hub.HfFileSystem.clear_instance_cache()
    hub.utils.close_session()


def patch(monkeypatch: pytest.MonkeyPatch, module: ModuleType, constants: dict[str, Any]) -> None:
    """Replace the constants a module has, keeping the type it uses for a path."""
    for name in constants.keys() & vars(module).keys():
        value = constants[name]
        if isinstance(value, str | Path):
            value = Path(value) if isinstance(vars(module)[name], Path) else str(value)
        monkeypatch.setattr(module, name, value)
