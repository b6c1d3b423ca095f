"""A sampler, tracker, task, measure, layout of heads or place of checkpoints is one new file: each is added so here."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_llc import HfLlcError, ModelSettings, SamplerSettings, estimate, find_components, measure, scan
from hf_llc.errors import SettingsError
from hf_llc.integrations.tracking import Tracking
from hf_llc.results.curve import Point
from hf_llc.settings.registry import Registry
from tests.helpers.estimates import estimate as an_estimate
from tests.helpers.tiny_model import jsonl, save_tiny_model
from tests.hub_server.environment import use_hub

ROOT = Path(__file__).parent.parent
SHORT: dict[str, Any] = {
    "gamma": 1000.0, "lr": 1e-4, "chains": 2, "draws": 8, "burn_in": 2, "checks": False, "batch_size": 4,
    "gradient": "minibatch", "batches": "independent", "start": "anchor", "baseline": "paired",
}  # fmt: skip
SAMPLER = '''
"""A sampler that takes no step at all."""

from hf_llc.sampling.samplers.base import Sampler

SAMPLER = Sampler(lambda walk: None, lambda walk, look, state, index: None, step_fraction=0.5, why="it stands still")
'''
TRACKER = '''
"""Points as lines of a text file."""


class LinesTracker:
    def __init__(self, run):
        self._path = run.folder / "lines.txt"
        self.view_command = f"cat {self._path}"

    @staticmethod
    def require():
        pass

    def log(self, values, step):
        with self._path.open("a") as file:
            file.write(f"{step} {values['llc']}\\n")

    def close(self):
        pass


TRACKER = LinesTracker
'''
LOCATION = '''
"""Checkpoints in a zip file: `attic://path/of/file.zip`."""

import zipfile
from pathlib import Path

from hf_llc.checkpoints.locations.base import Files, Found, Site
from hf_llc.checkpoints.locations.folder import source_in
from hf_llc.settings.model import ModelSettings


class Attic:
    def site(self, address, selection, place, trust, tell):
        with zipfile.ZipFile(address.removeprefix("attic://")) as file:
            names = sorted({Path(name).parts[0] for name in file.namelist()})
        places = {name: place(name) for name in names}

        def look(name):
            model = ModelSettings(model=address, subfolder=name)
            return Found(model=model, sha=None, place=places[name], files=Files(format="safetensors"))

        return Site(what=address, places=places, look=look)

    def source(self, settings, download, tell):
        folder = Path("fetched")
        with zipfile.ZipFile(settings.model.removeprefix("attic://")) as file:
            file.extractall(folder)
        return source_in(folder, settings, name=settings.model)


LOCATION = Attic()
'''
TASK = '''
"""Linear regression: half the squared error of a row."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file

from hf_llc.checkpoints.source import Corpus
from hf_llc.tasks.items import ItemObjective


class Regression:
    item, unit = "row", "nats per row"

    def claims(self, config):
        return config.get("model_type") == "line"

    def needs_tokenizer(self, data):
        return False

    def find_items(self, data, source, *, tokenizer, tell):
        path = Path(data.dataset)
        sha = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        return Corpus(
            id=path.name, revision=sha, config=None, split="train", text_column="x", fingerprint=sha,
            n=len(load_file(path)["x"]), context_length=1, path=path.resolve(),
        )

    def load_items(self, corpus):
        return load_file(corpus.path)

    def load_model(self, source, device, devices):
        model = torch.nn.Linear(3, 1, bias=False)
        model.load_state_dict(load_file(source.path / (source.subfolder or "") / "model.safetensors"))
        return model.to(device)

    def refuse(self, model, items):
        pass

    def objective(self, model, items, parameters, computation):
        def losses(rows):
            return (model(rows["x"])[:, 0] - rows["y"]).square() / 2

        return ItemObjective(losses, parameters, items, computation.batch_size, computation.dtype)


TASK = Regression()
'''
LAYOUT = '''
"""Heads of an attention whose value has no projection."""

from hf_llc.components.layouts.base import Heads, projection


class Short:
    def heads(self, layer, name):
        query, output = projection(layer, name, "ask"), projection(layer, name, "tell")
        if query is None or output is None:
            return None
        own = [[*query.rows(at, at + 4), *output.columns(at, at + 4)] for at in (0, 4)]
        return Heads(own=own, shared=[[], []], outer=name)


LAYOUT = Short()
'''
MEASURE = '''
"""How long w* is, and how much of that λ̂ is."""

from hf_llc.results.columns import Column


class Length:
    needs = ("llc",)
    columns = (Column("length", "number", "weight", "norm of w*"), Column("share", "number", "", "λ̂ over the norm"))

    def run(self, context):
        squares = [parameter.detach().square().sum() for parameter in context.bench.objective.parameters]
        length = float(sum(squares)) ** 0.5
        return {"length": length, "share": context.records["llc"]["llc"] / length}


MEASURE = Length()
'''


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, and no network."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)


def add_file(monkeypatch: pytest.MonkeyPatch, folder: Path, package: str, name: str, content: str) -> None:
    """Have the package hold one more file for this test."""
    folder.mkdir()
    (folder / name).write_text(content)
    module = import_module(package)
    monkeypatch.setattr(module, "__path__", [*module.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"{package}.{name.removesuffix('.py')}", raising=False)


def test_a_sampler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, text = save_tiny_model(tmp_path / "model"), tmp_path / "text.jsonl"
    text.write_text(jsonl(200))
    sampler = SamplerSettings(sampler="standing-still", **SHORT)
    with pytest.raises(SettingsError, match=r"sampler must be one of .*, got 'standing-still'"):
        estimate(model, text, sampler)
    add_file(monkeypatch, tmp_path / "more", "hf_llc.sampling.samplers", "standing_still.py", SAMPLER)
    result = estimate(model, text, sampler)
    # Chains that start at w* and take no step are where the loss does not differ.
    assert (result.settings.sampler, result.llc) == ("standing-still", 0.0)


def test_a_tracker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="report_to must be one of tensorboard, trackio, got 'lines'"):
        Tracking(["lines"])
    add_file(monkeypatch, tmp_path / "more", "hf_llc.integrations.trackers", "lines.py", TRACKER)
    messages: list[str] = []
    with Tracking(["lines"], tell=messages.append) as tracking:
        tracking.begin(tmp_path / "run", {"model": "org/model"})
        tracking.log(Point(revision="step512", step=512, estimate=an_estimate(512, 13.5)))
    assert (tmp_path / "run/lines.txt").read_text() == "512 13.5\n"
    assert messages[-1].endswith(f"cat {tmp_path / 'run/lines.txt'}")


def test_a_kind_of_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for step in (100, 20):
        save_tiny_model(tmp_path / "run" / f"checkpoint-{step}", seed=step)
    shutil.make_archive("run", "zip", tmp_path / "run")
    Path("text.jsonl").write_text(jsonl(200))
    with pytest.raises(SettingsError, match=r"attic://run.zip is not on the Hub"):
        scan("attic://run.zip", "text.jsonl")
    add_file(monkeypatch, tmp_path / "more", "hf_llc.checkpoints.locations", "attic.py", LOCATION)
    curve = scan("attic://run.zip", "text.jsonl", sampler="sgld-lm", num_processes=1, **SHORT)
    assert curve is not None
    assert [(point.revision, point.step, point.llc is not None) for point in curve] == [
        ("checkpoint-20", 20, True), ("checkpoint-100", 100, True),
    ]  # fmt: skip
    assert curve.model == "attic://run.zip"
    again = scan("attic://run.zip", "text.jsonl", sampler="sgld-lm", num_processes=1, **SHORT)
    assert again is not None
    assert again.run_dir == curve.run_dir
    one = estimate(ModelSettings(model="attic://run.zip", subfolder="checkpoint-20"), "text.jsonl", "sgld-lm", **SHORT)
    assert one.model == "attic://run.zip/checkpoint-20"
    assert one.init_loss == curve.points[0].loss


def test_a_layout_of_attention_heads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    layer = torch.nn.ModuleDict(
        {"attention": torch.nn.ModuleDict({"ask": torch.nn.Linear(6, 8), "tell": torch.nn.Linear(8, 6)})}
    )
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([layer])})
    with pytest.raises(SettingsError, match="has no heads that are known"):
        find_components(model, "heads")
    add_file(monkeypatch, tmp_path / "more", "hf_llc.components.layouts", "short.py", LAYOUT)
    assert [(each.name, each.weights) for each in find_components(model, "heads")] == [("l0h0", 52), ("l0h1", 52)]


def test_a_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn((64, 3), generator=numbers) * torch.tensor([2.0, 1.0, 0.2])
    y = x @ torch.tensor([1.0, -1.0, 0.5]) + torch.randn(64, generator=numbers)
    save_file({"x": x, "y": y}, "rows.safetensors")
    for step in (1, 2):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "line"}')
        save_file({"weight": torch.linalg.lstsq(x, y[:, None]).solution.T * step}, folder / "model.safetensors")
    with pytest.raises(HfLlcError):
        estimate(tmp_path / "run/checkpoint-1", "rows.safetensors")
    add_file(monkeypatch, tmp_path / "more", "hf_llc.tasks", "linear_regression.py", TASK)
    settings: dict[str, Any] = {"n_beta": 20.0, "gamma": 10.0, "chains": 4, "draws": 200, "seed": 1}
    result = estimate(tmp_path / "run/checkpoint-1", "rows.safetensors", **settings)
    curvatures = torch.linalg.eigvalsh(x.T @ x / 64)
    exact = float((20 * curvatures / (20 * curvatures + 10)).sum() / 2)
    assert result.llc == pytest.approx(exact, abs=4 * (result.stderr or 0))
    assert 0 < (result.stderr or 0) < 0.1 * exact
    assert (result.dataset.task, result.dataset.unit) == ("linear-regression", "nats per row")
    assert "nats per row" in result._repr_html_()
    again = estimate(tmp_path / "run/checkpoint-1", "rows.safetensors", "sgld-lm", burn_in=100, **settings)
    assert again.llc == pytest.approx(exact, abs=5 * (again.stderr or 0))
    curve = scan(tmp_path / "run", "rows.safetensors", num_processes=1, **settings)
    assert curve is not None
    assert [point.step for point in curve] == [1, 2]
    assert curve.points[0].llc == result.llc


def test_a_measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, text = save_tiny_model(tmp_path / "model"), tmp_path / "text.jsonl"
    text.write_text(jsonl(200))
    settings = {**SHORT, "sampler": "sgld-lm"}
    with pytest.raises(SettingsError, match=r"measures must be one of all, activations, .*, llc, .*, got 'length'"):
        measure(model, text, "length", **settings)
    add_file(monkeypatch, tmp_path / "more", "hf_llc.measures", "length.py", MEASURE)
    records = measure(model, text, ["length", "llc"], **settings)
    squares = [float(tensor.square().sum()) for tensor in load_file(model / "model.safetensors").values()]
    assert list(records) == ["length", "llc"]
    assert records["length"]["length"] == pytest.approx(sum(squares) ** 0.5)
    of_estimate = estimate(model, text, **settings)
    assert records["llc"]["llc"] == of_estimate.llc
    assert records["llc"]["verdict"] == of_estimate.verdict
    assert records["length"]["share"] == pytest.approx(records["llc"]["llc"] / records["length"]["length"])
    monkeypatch.setattr("hf_llc.tasks.text_generation.task.load_model", lambda *_: pytest.fail("it was loaded again"))
    assert measure(model, text, "length", **settings) == {"length": records["length"]}
    with pytest.raises(SettingsError, match="measures is an empty list"):
        measure(model, text, [], **settings)
    with pytest.raises(SettingsError, match="measure has no setting gama; did you mean gamma"):
        measure(model, text, "llc", gama=3)


def test_a_measure_that_needs_itself_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    selfish = MEASURE.replace('("llc",)', '("llc", "length")')
    add_file(monkeypatch, tmp_path / "more", "hf_llc.measures", "length.py", selfish)
    with pytest.raises(SettingsError, match="The measure length needs itself, by way of length"):
        measure("none/such", None, "length")


def test_the_help_lists_new_files_and_imports_none_of_them(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "hf_llc", tmp_path / "hf_llc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "cli", tmp_path / "hf_llc/cli", ignore=shutil.ignore_patterns("__pycache__"))
    broken = "raise RuntimeError('imported')\n"
    (tmp_path / "hf_llc/sampling/samplers/standing_still.py").write_text(f"{broken}SAMPLER = None\n")
    (tmp_path / "hf_llc/sampling/samplers/helper.py").write_text("NO_SAMPLER = None\n")
    (tmp_path / "hf_llc/integrations/trackers/lines.py").write_text(f"{broken}TRACKER = None\n")
    code = (
        "import sys; from hf_llc.cli.app import run; sys.argv = ['hf-llc', 'estimate', '--help-all']; run(); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1:] == ["False"], ended.stderr
    assert "sgnht, standing-still" in " ".join(ended.stdout.split())
    assert "lines or tensorboard or trackio" in " ".join(ended.stdout.split())
    assert "helper" not in ended.stdout


def test_a_name_that_no_file_has_is_refused_with_the_nearest() -> None:
    samplers = Registry[object]("hf_llc.sampling.samplers", "SAMPLER")
    with pytest.raises(HfLlcError, match=r"sampler must be one of auto, badodab, .*, got 'sgdl'; did you mean sgld"):
        samplers.check("sampler", "sgdl", ["auto"])
    assert "base" not in samplers
    assert "thermostat" not in samplers
    with pytest.raises(KeyError):
        samplers["../base"]
