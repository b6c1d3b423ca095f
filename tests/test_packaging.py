"""The package holds what the repository holds, and nothing of ours lands at the top level of site-packages."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import entry_points, packages_distributions, version
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_folder_with_an_init_is_listed_as_a_package() -> None:
    folders = {"hf_llc": "hf_llc", "cli": "hf_llc.cli", "model_cards": "hf_llc.model_cards"}
    results = {
        ".".join([folders[top], *path.parent.relative_to(ROOT / top).parts])
        for top in folders
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert results == set(SETUP["tool"]["setuptools"]["packages"])


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


def test_what_the_page_is_made_of_is_package_data() -> None:
    shipped = SETUP["tool"]["setuptools"]["package-data"]["hf_llc.report.page"]
    made_of = [path for path in (ROOT / "hf_llc/report/page").iterdir() if path.suffix not in {".py", ""}]
    assert len(made_of) == 10
    assert not [path for path in made_of if not any(path.match(pattern) for pattern in shipped)]


def test_the_version_pinned_for_make_lies_in_the_range_that_users_get() -> None:
    pinned = dict(line.split("==") for line in (ROOT / ".ci" / "constraints.txt").read_text().split())
    assert tuple(map(int, pinned["torch"].split(".")[:2])) >= (2, 11)
    assert "torch>=2.11,<3" in SETUP["project"]["dependencies"]


def test_actions_are_pinned_by_commit_and_may_only_read() -> None:
    for path in (ROOT / ".github/workflows").iterdir():
        workflow = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert "permissions" not in job
            for step in job["steps"]:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", "x@" + "0" * 40))


@pytest.mark.parametrize(
    ("name", "weak"),
    [
        ("torch", "2.9.1"),
        ("transformers", "5.9.0"),
        ("filelock", "3.20.2"),
        ("jinja2", "3.1.5"),
        ("pyarrow", "23.0.0"),
    ],
)
def test_versions_with_published_weaknesses_are_left_out(name: str, weak: str) -> None:
    (range_of,) = [result for result in map(Requirement, SETUP["project"]["dependencies"]) if result.name == name]
    assert not range_of.specifier.contains(weak)
    assert range_of.specifier.contains(version(name))


@pytest.mark.processes
def test_a_source_distribution_runs_its_own_tests(tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns(
        ".git", ".venv", ".*_cache", ".hypothesis", "build", "site", "*.egg-info", "__pycache__"
    )
    shutil.copytree(ROOT, tmp_path / "tree", ignore=left_out)
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=tmp_path / "tree", check=True, capture_output=True)
    (archive,) = tmp_path.glob("hf_llc-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    results = {path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")}
    assert results <= {path.relative_to(folder) for path in folder.rglob("*.py")}
    for name in (
        "LICENSE",
        "SECURITY.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "mkdocs.yml",
        "docs/index.md",
        "docs/examples/01_first_estimate.ipynb",
        "Makefile",
        ".ci/constraints.txt",
        "model_cards/__init__.py",
    ):
        assert (folder / name).is_file()
    few = [
        "tests/test_packaging.py",
        "tests/checkpoints/test_step_names.py",
        "tests/execution/test_store.py",
        "tests/hub_server/test_hub_access.py",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not processes", *few],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
