"""The page of a run as a static Space, over real HTTP: made, replaced, and never over somebody else's."""

from pathlib import Path

import huggingface_hub
import pytest

import hf_llc
from hf_llc.errors import AccessError, NotFoundError, PublishError, SettingsError, UnusableError
from hf_llc.hub.publication import PublishSettings
from hf_llc.report.publish import prepare, push
from hf_llc.results.curve import Curve
from tests.cli.conftest import run as run
from tests.helpers.command_line import Run
from tests.helpers.estimates import estimate
from tests.hub_server import fixtures
from tests.hub_server.server import HubServer
from tests.report.card.test_merge import front
from tests.report.test_page import HOSTILE, kept_run

hub_server, hub = fixtures.hub_server, fixtures.hub

SPACE = PublishSettings(space="alice/llc-model")
TEMPLATE = (
    "---\ntitle: Llc Model\nemoji: 🐠\ncolorFrom: red\ncolorTo: blue\nsdk: static\npinned: false\n---\n\n"
    "Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference\n"
)
"""The README.md that the Hub gives a new static Space."""
WELCOME = "<!doctype html><h1>Welcome to your static Space!</h1>"
FILES = {"README.md": TEMPLATE, "index.html": WELCOME, "style.css": "body {}"}


def test_a_new_space_is_static_and_shows_the_page(hub: HubServer, tmp_path: Path) -> None:
    folder = kept_run(tmp_path / "run")
    publication = hf_llc.publish(folder, SPACE)
    repo = hub.find("space", "alice/llc-model")
    assert repo is not None
    assert (publication.repo_type, publication.url) == ("space", f"{hub.url}/spaces/alice/llc-model")
    assert publication.changed == publication.files == ("README.md", "index.html")
    files = repo.at().files
    metadata = front(files["README.md"].read())
    assert (metadata["sdk"], metadata["app_file"], metadata["title"]) == ("static", "index.html", "LLC of model")
    assert metadata["hf-llc"] == {"schema": "1", "page": "index.html"}
    assert files["index.html"].read() == hf_llc.write_report(folder).read_bytes()
    (created,) = hub.requests("/api/repos/create")
    assert created.method == "POST"


def test_the_hub_is_asked_for_a_static_space(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    create = huggingface_hub.HfApi.create_repo

    def noted(self: object, repo_id: str, **options: object) -> object:
        asked.update(options)
        return create(self, repo_id, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", noted)
    hf_llc.publish(kept_run(tmp_path / "run"), PublishSettings(space="llc-model", private=True))
    assert (asked["repo_type"], asked["space_sdk"], asked["private"]) == ("space", "static", True)
    repo = hub.find("space", "alice/llc-model")
    assert repo is not None
    assert repo.private


def test_published_again_nothing_changes_and_an_edited_readme_stays(hub: HubServer, tmp_path: Path) -> None:
    folder = kept_run(tmp_path / "run")
    hf_llc.publish(folder, SPACE)
    assert hf_llc.publish(folder, SPACE).changed == ()
    repo = hub.find("space", "alice/llc-model")
    assert repo is not None
    edited = repo.at().files["README.md"].read() + b"\nWords of mine.\n"
    repo.commit({"README.md": edited})
    other = kept_run(tmp_path / "other", name="org/other")
    assert hf_llc.publish(other, SPACE).changed == ("index.html",)
    assert repo.at().files["README.md"].read() == edited


def test_what_the_hub_puts_into_a_new_space_is_replaced(hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add("space", "alice/llc-model", FILES)
    assert hf_llc.publish(kept_run(tmp_path / "run"), SPACE).changed == ("README.md", "index.html")
    assert repo.at().files["style.css"].read() == b"body {}"
    assert front(repo.at().files["README.md"].read())["title"] == "LLC of model"


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": TEMPLATE + "\nMy own words.\n", "app.py": "import gradio"},
        {"README.md": TEMPLATE, "index.html": "<h1>My page</h1>"},
        {"index.html": "<h1>My page</h1>"},
        {"README.md": "# No front matter\n"},
    ],
)
def test_a_space_of_somebody_elses_making_is_left_as_it_is(
    hub: HubServer, tmp_path: Path, files: dict[str, str]
) -> None:
    repo = hub.add("space", "alice/llc-model", files)
    before = repo.at()
    with pytest.raises(UnusableError, match="is a Space that hf-llc did not make, and stays as it is; give another"):
        hf_llc.publish(kept_run(tmp_path / "run"), SPACE)
    assert repo.at() == before


def test_a_readme_whose_front_matter_cannot_be_read_is_named_by_its_line(hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add("space", "alice/llc-model", {"README.md": "---\ntitle: [\n---\n", "index.html": WELCOME})
    before = repo.at()
    with pytest.raises(UnusableError, match=r"README.md of .*/spaces/alice/llc-model, line \d"):
        hf_llc.publish(kept_run(tmp_path / "run"), SPACE)
    assert repo.at() == before


def test_a_readme_that_became_foreign_meanwhile_is_not_replaced(hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add("space", "alice/llc-model", FILES)
    draft = prepare(kept_run(tmp_path / "run"), SPACE)
    repo.commit({"README.md": "# Mine\n"})
    before = repo.at()
    with pytest.raises(PublishError, match=r"did not make.*To try again: hf-llc publish .* --space alice/llc-model"):
        push(draft)
    assert repo.at() == before


def test_a_space_of_others_needs_their_permission(hub: HubServer, tmp_path: Path) -> None:
    folder = kept_run(tmp_path / "run")
    hub.add("space", "bob/llc", {"README.md": TEMPLATE})
    with pytest.raises(AccessError):
        hf_llc.publish(folder, PublishSettings(space="bob/llc"))
    hub.add("dataset", "alice/llc-model")
    with pytest.raises(NotFoundError, match="alice/llc-model is a dataset, not a space; give it with --dataset-repo"):
        hf_llc.publish(folder, SPACE)


@pytest.mark.parametrize(
    "name", ["alice/llc-model", "llc-model", "hf://spaces/alice/llc-model", "{url}/spaces/alice/llc-model"]
)
def test_a_space_is_named_as_people_name_it(hub: HubServer, tmp_path: Path, name: str) -> None:
    draft = prepare(kept_run(tmp_path / "run"), PublishSettings(space=name.format(url=hub.url)))
    assert draft.target.repo_id == "alice/llc-model"


def test_settings_that_contradict_each_other_are_refused(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Set `space`, or `repo` or `dataset_repo`, not both"):
        PublishSettings(space="a/b", repo="a/c")
    with pytest.raises(SettingsError, match="`headline` is for metadata"):
        PublishSettings(space="a/b", headline=("step1",))
    with pytest.raises(SettingsError, match="'a/b/c' is no Space; give it as org/name"):
        prepare(kept_run(tmp_path / "run"), PublishSettings(space="a/b/c"))


def test_hostile_names_stay_words_in_the_readme(hub: HubServer) -> None:
    curve = Curve.of_estimate(estimate(model=HOSTILE))
    hf_llc.publish(curve, SPACE)
    repo = hub.find("space", "alice/llc-model")
    assert repo is not None
    card = repo.at().files["README.md"].read()
    assert front(card)["sdk"] == "static"
    assert "<script>" not in card.decode().partition("\n---\n")[2]


def test_the_command_shows_what_it_would_do_and_does_it(run: Run, hub: HubServer, tmp_path: Path) -> None:
    folder = kept_run(tmp_path / "run")
    shown = run("publish", folder, "--space", "alice/llc-model", "--dry-run", "--json").json
    assert (shown["repo_type"], shown["changed"]) == ("space", ["README.md", "index.html"])
    assert hub.find("space", "alice/llc-model") is None
    assert len(shown["diff"]) < 5000, "the page itself is no difference to read"
    done = run("publish", folder, "--space", "alice/llc-model", "--yes", "-q")
    assert done.out.strip() == f"{hub.url}/spaces/alice/llc-model"
