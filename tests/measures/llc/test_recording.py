"""Recorded losses: the same draws with or without, at w* they are 0, and they survive what happens to a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hf_llc import DataSettings, Estimate, ModelSettings, Observer, SamplerSettings, estimate, scan
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.execution.distributed.world import single_process
from hf_llc.execution.loaded_model import LoadedModel, computing
from hf_llc.execution.planning import plan, tell_of_no_use
from hf_llc.execution.store import RunStore, whole_payload
from hf_llc.measures.llc import recording
from hf_llc.measures.recorded import read_recorded
from tests.helpers.learned_model import BY_DRAWS, SEQUENCES, save_learned_model
from tests.helpers.tiny_model import CONTEXT, jsonl

CHAINS = SamplerSettings(
    gamma=1000.0, n_beta=30.0, lr=1e-3, batch_size=8, chains=2, draws=6, burn_in=4, threads=1, checks=False
)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has learned its text, the text, and another one."""
    folder = tmp_path_factory.mktemp("recording")
    save_learned_model(folder / "model", folder / "text.jsonl")
    (folder / "other.jsonl").write_text(jsonl(20))
    return folder


def run(place: Path, sampler: SamplerSettings, folder: str = "run", observer: Observer | None = None) -> Estimate:
    data = DataSettings(dataset=str(place / "text.jsonl"))
    return estimate(str(place / "model"), data, sampler, output_dir=Path(folder), observer=observer)


def tensors(folder: str, recording: str = "losses", kind: str = "draws") -> dict[str, Tensor]:
    """The tensors of all parts of a recording, one behind the other."""
    parts = [load_file(path) for path in sorted(Path(folder, "recorded", recording, kind).glob("*.safetensors"))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def anchors(folder: str, recording: str = "losses") -> dict[str, Any]:
    payload = whole_payload(Path(folder, "recorded", recording, "anchors.json"))
    assert payload is not None
    return payload


def contents(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder, "recorded").rglob("*.safetensors")}


def test_the_weighted_mean_of_recorded_losses_is_the_llc(place: Path) -> None:
    result = run(place, replace(BY_DRAWS, keep=("losses",), recorded_draws=120))
    recorded = tensors("run")
    assert recorded["rises"].shape == (120, SEQUENCES)
    torch.testing.assert_close(recorded["rises"].double().mean(dim=1), recorded["loss_rises"])
    weights = torch.softmax(recorded["log_weights"], dim=0)
    gains = 30.0 * recorded["loss_rises"]
    llc = float(weights @ gains)
    error = float(torch.sqrt((weights.square() * (gains - llc).square()).sum()))
    assert result.llc is not None
    assert result.stderr is not None
    assert error < 0.1 * llc
    assert abs(llc - result.llc) < 3 * (error + result.stderr)


def test_anchors_are_the_losses_at_the_checkpoint_and_say_what_they_are_of(place: Path) -> None:
    result = run(place, replace(CHAINS, keep=("losses",)))
    stored = anchors("run")
    losses = load_file("run/recorded/losses/anchors.safetensors")["rises"]
    assert float(losses.double().mean()) == pytest.approx(result.init_loss, rel=1e-6)
    assert (stored["item"], stored["unit"], stored["n"]) == ("sequence", "nats per token", SEQUENCES)
    assert (stored["n_beta"], stored["gamma"]) == (30.0, 1000.0)
    assert len(stored["labels"]) == SEQUENCES
    assert all(stored["labels"])


def test_recorded_chains_are_the_chains_that_make_the_number(place: Path) -> None:
    without = run(place, CHAINS, "without")
    result = run(place, replace(CHAINS, keep=("losses",)))
    assert result.to_dict() | {"seconds": 0, "run_dir": 0} == without.to_dict() | {"seconds": 0, "run_dir": 0}
    rises = tensors("run", kind="chains")["loss_rises"]
    assert len(rises) == 12
    # The number has minibatches of 8 of these sequences at the same weights.
    assert 30 * float(rises.mean()) == pytest.approx(result.llc, rel=0.1)


def test_losses_can_be_added_to_finished_chains(place: Path) -> None:
    run(place, replace(CHAINS, keep=("losses",)), "at once")
    run(place, CHAINS, "later")
    before = {path: path.read_bytes() for path in Path("later/chains").iterdir()}
    run(place, replace(CHAINS, keep=("losses",)), "later")
    assert list(contents("later").values()) == list(contents("at once").values())
    assert {path: path.read_bytes() for path in Path("later/chains").iterdir()} == before


def test_the_mean_of_the_losses_of_tokens_is_the_loss_of_their_sequence(place: Path) -> None:
    run(place, replace(BY_DRAWS, keep=("losses", "token-losses"), recorded_draws=8))
    tokens, sequences = tensors("run", "token-losses")["rises"], tensors("run")["rises"]
    assert tokens.shape == (8, SEQUENCES * (CONTEXT - 1))
    means = tokens.double().view(8, SEQUENCES, CONTEXT - 1).mean(dim=2)
    # Of a token 16 bits are kept.
    torch.testing.assert_close(means, sequences.double(), atol=5e-4, rtol=1e-3)
    assert anchors("run", "token-losses")["positions"][:2] == [[0, 1], [0, 2]]


def test_a_probe_is_recorded_under_the_weights_of_the_main_data(place: Path) -> None:
    sampler = replace(BY_DRAWS, keep=("losses",), recorded_draws=8)
    run(place, sampler)
    run(place, replace(sampler, keep=(), probe=str(place / "other.jsonl"), probe_items=3))
    (folder,) = Path("run/recorded").glob("losses-*")
    probed = tensors("run", folder.name)
    assert probed["rises"].shape == (8, 3)
    torch.testing.assert_close(probed["log_weights"], tensors("run")["log_weights"], atol=1e-6, rtol=1e-5)
    assert anchors("run", folder.name)["items_of"]["dataset"].endswith("other.jsonl")


@pytest.mark.parametrize(
    "sampler", [replace(BY_DRAWS, keep=("losses",), recorded_draws=40), CHAINS], ids=["draws", "chains"]
)
def test_a_damaged_or_missing_file_is_made_again_as_it_was(place: Path, sampler: SamplerSettings) -> None:
    run(place, replace(sampler, keep=("losses",)))
    before = contents("run")
    first, second = list(before)[1:3]
    Path(first).unlink()
    Path(second).write_bytes(before[second][:-1])
    run(place, replace(sampler, keep=("losses",)))
    assert contents("run") == before


def test_a_model_that_is_loaded_again_between_blocks_gives_the_draws_of_one_that_stays(
    place: Path,
) -> None:
    """As in a scan, whose processes take turns at its checkpoints."""
    sampler = replace(BY_DRAWS, keep=("losses",), recorded_draws=40)
    run(place, sampler, "undisturbed")
    data = DataSettings(dataset=str(place / "text.jsonl"))
    own = plan(ModelSettings(model=str(place / "model")), data, sampler, output_dir=Path("run"))
    bench, fleet, store = LoadedModel(own, "cpu"), single_process("cpu"), RunStore(own.run_dir, lambda message: None)
    store.open(own.inputs())
    posterior = recording.Posterior(n_beta=30.0, gamma=1000.0)
    with computing(1):
        for _ in recording.of_draws(own, store, bench, posterior, fleet, Observer()):
            bench.clear()
    assert list(contents("run").values()) == list(contents("undisturbed").values())


def test_losses_follow_the_coordinates_of_a_relative_prior(place: Path) -> None:
    sampler = replace(CHAINS, keep=("losses",), prior="relative", gamma=100.0)
    result = run(place, sampler)
    rises = tensors("run", kind="chains")["loss_rises"]
    assert 30 * float(rises.mean()) == pytest.approx(result.llc, rel=0.1)
    run(place, replace(sampler, keep=(), probe=str(place / "text.jsonl"), probe_items=SEQUENCES))
    (folder,) = Path("run/recorded").glob("losses-*")
    torch.testing.assert_close(tensors("run", folder.name, "chains")["rises"], tensors("run", kind="chains")["rises"])


def test_more_draws_fill_up_the_part_that_was_not_full(place: Path) -> None:
    sampler = replace(BY_DRAWS, keep=("losses",))
    run(place, replace(sampler, recorded_draws=12))
    run(place, replace(sampler, recorded_draws=24))
    run(place, replace(sampler, recorded_draws=24), "at once")
    more, at_once = read_recorded("run").draws, read_recorded("at once").draws
    assert more.rises.shape == (12, 2, SEQUENCES)
    assert torch.equal(more.rises, at_once.rises)


@pytest.mark.parametrize(("keep", "told"), [(("losses",), 1), ((), 0)])
def test_a_budget_is_said_not_to_stop_what_is_recorded(keep: tuple[str, ...], told: int) -> None:
    said: list[str] = []

    class Listener(Observer):
        def tell(self, message: str) -> None:
            said.append(message)

    tell_of_no_use(replace(BY_DRAWS, keep=keep, budget_seconds=60.0), Listener())
    assert sum("does not stop the 400 draws that are recorded" in sentence for sentence in said) == told


def test_tokens_are_refused_where_items_have_none(place: Path) -> None:
    module = torch.nn.Linear(2, 1, bias=False)
    items = (torch.randn(16, 2), torch.randn(16, 1))
    with pytest.raises(UnusableError, match="token-losses is for text generation"):
        estimate(
            module,
            items,
            replace(CHAINS, keep=("token-losses",)),
            losses=lambda net, rows: (net(rows[0]) - rows[1]).square().mean(dim=1),
        )


def test_a_probe_that_is_too_short_is_named_with_its_own_settings(place: Path) -> None:
    with pytest.raises(
        UnusableError, match=r"^probe cannot be used: .*other\.jsonl gives .*raise `probe_items`, or"
    ) as raised:
        run(place, replace(BY_DRAWS, probe=str(place / "other.jsonl"), probe_items=1))
    assert str(raised.value).endswith("cut to the context length of the data.")


def test_a_probe_of_a_module_in_memory_is_refused_not_taken_for_its_data(place: Path) -> None:
    items = (torch.randn(16, 2), torch.randn(16, 1))
    asked = replace(CHAINS, probe=str(place / "other.jsonl"))
    losses: Any = lambda net, rows: (net(rows[0]) - rows[1]).square().mean(dim=1)  # noqa: E731
    with pytest.raises(SettingsError, match="probe must be left out for a module in memory"):
        estimate(torch.nn.Linear(2, 1, bias=False), items, asked, losses=losses)
    with pytest.raises(SettingsError, match="probe must be left out for a module in memory"):
        scan([torch.nn.Linear(2, 1, bias=False)], items, asked, losses=losses)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": ("loss",)}, "keep must be one of losses, token-losses, got 'loss'; did you mean losses"),
        ({"recorded_draws": 50}, "recorded_draws goes with `keep` or `probe`"),
        ({"keep": ("losses",), "recorded_draws": 4}, "recorded_draws must be ≥ 8"),
        ({"keep": ("losses",), "devices_per_chain": 2}, "keep needs the whole model in one process"),
    ],
)
def test_impossible_recordings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SamplerSettings(**changes)
