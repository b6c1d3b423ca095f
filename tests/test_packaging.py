"""The package holds what the repository holds, and nothing of ours lands at the top level of site-packages."""

import tomllib
from importlib.metadata import entry_points, packages_distributions
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_folder_with_an_init_is_listed_as_a_package() -> None:
    folders = {"hf_llc": "hf_llc", "cli": "hf_llc.cli", "model_cards": "hf_llc.model_cards"}
    found = {
        ".".join([folders[top], *path.parent.relative_to(ROOT / top).parts])
        for top in folders
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert found == set(SETUP["tool"]["setuptools"]["packages"])


def test_only_our_own_name_is_at_the_top_level() -> None:
    ours = {name for name, owners in packages_distributions().items() if "hf-llc" in owners}
    assert {name for name in ours if not name.startswith("__editable__")} <= {"hf_llc"}
    listed = SETUP["tool"]["setuptools"]["packages"]
    assert {name.split(".")[0] for name in listed} == {"hf_llc"}


def test_the_console_script_is_the_one_that_hub_extensions_need() -> None:
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    assert scripts["hf-llc"] == "hf_llc.cli.app:main"
    assert not (ROOT / "hf-llc").exists()


def test_templates_are_package_data() -> None:
    shipped = {entry.name for entry in files("hf_llc.model_cards").iterdir() if entry.name.endswith(".jinja")}
    assert shipped == {path.name for path in (ROOT / "model_cards").glob("*.jinja")}
    assert shipped
    assert SETUP["tool"]["setuptools"]["package-data"]["hf_llc.model_cards"] == ["*.jinja"]


def test_the_version_pinned_for_make_lies_in_the_range_that_users_get() -> None:
    pinned = dict(line.split("==") for line in (ROOT / ".ci" / "constraints.txt").read_text().split())
    assert tuple(map(int, pinned["torch"].split(".")[:2])) >= (2, 11)
    assert "torch>=2.11" in SETUP["project"]["dependencies"]
