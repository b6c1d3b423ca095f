"""Cards: what the Hub's own reader sees in them, and that nothing from outside becomes mark-up."""

import re
import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markdown_it import MarkdownIt
from ruamel.yaml import YAML
from typer.main import get_command

from hf_llc.report.card import escaping
from hf_llc.report.card import render as card
from hf_llc.report.card.render import Content
from hf_llc.report.card.section import BEGIN, END
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Estimate
from hf_llc.settings.file import read_settings
from tests.helpers.estimates import DIAGNOSTICS, SETTINGS, estimate

STEPS = (0, 8, 512)
HOSTILE = "x|y\n---\n<script>alert(1)</script> <!-- hf-llc:end --> ![a](http://evil) `$(rm -rf ~)` 'q' \"d\" # no: yes"


def content(*estimates: Estimate, name: str = "model", **named: Any) -> Content:
    """What is published of these estimates, the last of them in the headline."""
    points = [
        Point(
            revision=each.revision or Path(each.model).name,
            sha=each.sha if each is estimates[-1] else f"{i:040x}",
            step=each.step,
            estimate=each,
        )
        for i, each in enumerate(estimates)
    ]
    curve = Curve.of_points(estimates[-1].model, points, run_dir=".", versions={})
    return Content(curve=curve, name=name, headline=[point for point in points[-1:] if point.llc is not None], **named)


def render(*estimates: Estimate, name: str = "model", about: str = "", **named: Any) -> str:
    """A whole card."""
    return card.render_model_card(content(*estimates, name=name, **named), about=about)


def series() -> list[Estimate]:
    return [estimate(step, 1.0 + step, stderr=0.25) for step in STEPS]


def results(text: str) -> list[EvalResult]:
    """What huggingface_hub reads from a card's metadata; it drops what it cannot read, hence the check of the tags."""
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    assert data.tags == ["llc"]
    return data.eval_results or []


def metadata(text: str) -> dict[str, Any]:
    result = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(result, dict)
    return result


def test_huggingface_hub_reads_the_last_estimate() -> None:
    (result,) = results(render(*series(), url="https://huggingface.co/me/m/blob/main/llc/results.jsonl"))
    assert (result.metric_type, result.metric_value) == ("llc", 513.0)
    assert result.metric_name == "Local learning coefficient (step512)"
    assert (result.task_type, result.dataset_type, result.dataset_name) == ("text-generation", "org/text", "org/text")
    assert (result.dataset_split, result.dataset_revision, result.dataset_config) == ("train", "b" * 40, None)
    source = ("hf-llc", "https://huggingface.co/me/m/blob/main/llc/results.jsonl")
    assert (result.source_name, result.source_url) == source


def test_where_no_repository_is_known_no_source_is_made_up() -> None:
    (result,) = results(render(*series()))
    assert (result.source_name, result.source_url) == (None, None)


@pytest.mark.parametrize(
    ("value", "error", "wanted"),
    [
        (22.943198786900748, 0.16045487059052593, (22.94, 0.16)),
        (24.6712, 12.345, (25.0, 12.0)),
        (56789.0, 1234.5, (56800.0, 1200.0)),
        (0.0123412, 0.000671, (0.01234, 0.00067)),
        (1.23456, 0.0997, (1.23, 0.1)),
        (-9.0712, 21.49, (-9.0, 21.0)),
        (7.5e97, 1.6e96, (7.5e97, 1.6e96)),
        (3.14159, 0.0, (3.14159, 0.0)),
    ],
)
def test_metadata_has_the_digits_that_the_error_leaves(value: float, error: float, wanted: tuple[float, float]) -> None:
    (result,) = results(render(estimate(llc=value, stderr=error)))
    assert (result.metric_value, (result.metric_args or {})["stderr"]) == wanted


def test_a_text_of_this_disk_is_no_id_of_the_hub() -> None:
    text = render(card.without_paths(local(), Path("/home/someone/demo")))
    (result,) = results(text)
    assert (result.dataset_type, result.dataset_name) == ("local", "text.jsonl")
    assert str(result.dataset_revision).startswith("sha256:")


def test_a_picture_that_is_missing_is_one_line_and_no_link() -> None:
    text = render(*series(), picture=False)
    assert text.count("The picture is missing: it could not be drawn where these results were published from.") == 1
    assert "curve.png" not in text
    assert "picture" not in metadata(text)["hf-llc"]
    assert "The picture is missing" not in render(*series())


def test_the_arguments_are_all_that_the_number_depends_on() -> None:
    (result,) = results(render(*series()))
    wanted = {
        "model_revision": "step512",
        "model_sha": "a" * 40,
        "stderr": 0.25,
        "verdict": "converged",
        "n": 2048,
        "n_beta": 268.6,
        "gamma": 7800.0,
        "lr": 8.3e-5,
        "sampler": "sgld-lm",
        "chains": 2,
        "draws": 20,
        "context_length": 64,
        "token_fingerprint": "sha256:" + "c" * 64,
        "hf_llc_version": "0.1.0",
    }
    assert result.metric_args is not None
    assert wanted.items() <= result.metric_args.items()


def test_the_metadata_says_what_the_model_is_and_where_the_results_are() -> None:
    result = metadata(render(*series()))
    assert result["library_name"] == "transformers"
    assert result["tags"] == ["llc"]
    assert result["hf-llc"] == {
        "schema": 1,
        "results": "llc/results.jsonl",
        "settings": "llc/settings.yaml",
        "picture": "llc/curve.png",
    }


def test_an_estimate_without_number_is_in_the_table_and_not_in_the_metadata() -> None:
    text = render(estimate(8, 9.0), estimate(512, None))
    assert "model-index" not in metadata(text)
    assert "| step512 | 512 | 2.8594 | no number | 1.012 | diverged |" in text


def test_the_table_has_a_row_per_estimate_in_order() -> None:
    table = [line for line in render(*series()).splitlines() if line.startswith("| step")]
    assert table == [
        "| step0 | 0 | 2.8594 | 1.00 ± 0.25 | 1.012 | converged |",
        "| step8 | 8 | 2.8594 | 9.00 ± 0.25 | 1.012 | converged |",
        "| step512 | 512 | 2.8594 | 513.00 ± 0.25 | 1.012 | converged |",
    ]


def test_the_body_shows_the_picture_the_paper_and_the_limits() -> None:
    text = render(*series())
    assert "](llc/curve.png)" in text
    assert "2308.12108" in text
    assert "γ/nβ = 29" in text
    assert "share nβ, γ and text" in text
    assert "d log λ̂ / d log γ is -0.93 ± 0.02 at step512" in text


def test_numbers_at_different_settings_are_not_called_comparable() -> None:
    text = render(estimate(8), estimate(512, settings=replace(SETTINGS, gamma=1.0)))
    assert "must not be compared with each other" in text
    assert "share nβ, γ and text" not in text


def test_the_section_is_between_its_markers_once() -> None:
    text = render(*series())
    section = card.render_section(content(*series()))
    assert section.startswith(BEGIN)
    assert section.rstrip().endswith(END)
    assert text.endswith(section)
    assert text.count(BEGIN) == text.count(END) == 1


def command_of(text: str) -> list[str]:
    result = re.findall(r"```bash\n(.*)\n```", text)
    return shlex.split(result[-1])


def options_of(arguments: list[str], command: str) -> dict[str, str]:
    """The options of a command by name, each of which the command has to know."""
    assert arguments[:2] == ["hf-llc", command]
    options = dict(zip(arguments[3::2], arguments[4::2], strict=True))
    program: Any = get_command(import_module("hf_llc.cli.app").app)
    assert set(options) <= {name for each in program.commands[command].params for name in each.opts}
    return options


def test_the_command_has_every_setting_as_an_option_of_hf_llc_estimate() -> None:
    command = command_of(render(estimate()))
    options = options_of(command, "estimate")
    assert command[2] == "org/model"
    assert (options["--revision"], options["--dataset-revision"]) == ("a" * 40, "b" * 40)
    assert (options["--gamma"], options["--lr"], options["--max-sequences"]) == ("7800.0", "8.3e-05", "2048")


def test_the_command_of_what_is_no_text_has_its_columns_and_no_length() -> None:
    data = replace(estimate().dataset, task="image-classification", unit="nats per image", label_column="fine")
    images = estimate(dataset=data, settings=replace(SETTINGS, context_length=1))
    options = options_of(command_of(render(images)), "estimate")
    assert (options["--label-column"], options["--task"]) == ("fine", "image-classification")
    assert "--context-length" not in options
    plain = options_of(command_of(render(estimate())), "estimate")
    assert "--context-length" in plain
    assert not {"--label-column", "--task", "--prior", "--batch-norm"} & plain.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", "bfloat16"),
        ("devices_per_chain", 2),
        ("prior", "relative"),
        ("batch_norm", "reestimated"),
        ("component", "l0h1"),
    ],
)
def test_the_command_names_what_is_not_as_usual(name: str, value: Any) -> None:
    option = "--" + name.replace("_", "-")
    changed = estimate(settings=replace(SETTINGS, **{name: value}))
    assert options_of(command_of(render(changed)), "estimate")[option] == str(value)
    assert option not in command_of(render(estimate()))


def test_the_command_of_a_curve_is_a_scan_of_its_revisions() -> None:
    options = options_of(command_of(render(*series())), "scan")
    assert options["--revisions"] == "step0,step8,step512"
    assert (options["--seed"], options["--sampler"], options["--chains"]) == ("0", "sgld-lm", "2")


def place_of(estimates: Content) -> str:
    """The --revisions of the command that a card shows."""
    return options_of(command_of(card.render_section(estimates)), "scan")["--revisions"]


def test_checkpoints_that_are_no_revisions_are_named_by_where_they_live() -> None:
    result = content(*series())
    curve = result.curve
    folders = [replace(point, revision=f"run-1/ckpt-{i}", sha="a" * 40) for i, point in enumerate(curve.points)]
    assert place_of(replace(result, curve=replace(curve, points=tuple(folders)))) == (
        "subfolder:run-1/ckpt-*,run-1/ckpt-0,run-1/ckpt-1,run-1/ckpt-2"
    )
    repositories = [
        replace(point, revision=name, estimate=replace(each, model=name))
        for name, point, each in zip(("o/a", "o/b", "p/c"), curve.points, series(), strict=True)
    ]
    assert place_of(replace(result, curve=replace(curve, points=tuple(repositories)))) == "repos:o/a,o/b,p/c"


def test_checkpoints_of_a_local_folder_are_named_as_in_the_folder() -> None:
    """Once paths of this machine are taken out, a checkpoint and its model are both called by the folder's name."""
    result = content(*series())
    sha = "sha256:" + "a" * 64
    local = [
        replace(point, revision=name, sha=sha, estimate=replace(each, model=name, sha=sha))
        for name, point, each in zip(("step0", "step8", "step512"), result.curve.points, series(), strict=True)
    ]
    assert place_of(replace(result, curve=replace(result.curve, points=tuple(local)))) == "step0,step8,step512"


def test_the_command_names_part_of_a_model_and_a_cross_check() -> None:
    result = estimate(settings=replace(SETTINGS, params="*.0.*,*.1.*"), cross_check={"method": "lanczos", "llc": 1.0})
    command = command_of(render(result))
    assert [command[i + 1] for i, word in enumerate(command) if word == "--params"] == ["*.0.*", "*.1.*"]
    assert command[-2:] == ["--cross-check", "lanczos"]


def test_where_to_read_it_back_is_said() -> None:
    assert "```bash\nhf-llc show hf://org/model\n```" in render(estimate(), home="hf://org/model")
    assert "hf-llc show" not in render(estimate())


def test_a_long_curve_has_a_short_table_with_its_headline_and_says_what_is_left_out() -> None:
    result = content(*(estimate(step) for step in range(100)))
    named = result.curve.points[41]
    text = card.render_section(replace(result, headline=[named, result.curve.points[-1]]))
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| step")]
    assert len(rows) == 17
    assert rows[0] == "step0"
    assert {"step41", "step99"} <= set(rows)
    assert "83 more checkpoints are in the results file." in text
    assert options_of(command_of(text), "scan")["--revisions"].count(",") == 99


def test_copies_and_failures_are_rows_that_say_so() -> None:
    result = content(estimate(0), estimate(8))
    points = (
        replace(result.curve.points[0], duplicate_of="step8"),
        result.curve.points[1],
        Point(revision="step9", step=9, error="no weights | at all"),
    )
    text = card.render_section(replace(result, curve=replace(result.curve, points=points)))
    assert "| step0 | 0 | 2.8594 | 13.93 ± 0.42 | 1.012 | converged (weights of step8) |" in text
    assert "| step9 | 9 |  | no number |  | could not be used: no weights \\| at all |" in text


@pytest.mark.parametrize(
    ("task", "unit", "items"),
    [("text-generation", "nats per token", "sequences"), ("image-classification", "nats per image", "images")],
)
def test_a_dataset_card_names_the_loss_of_its_task(task: str, unit: str, items: str) -> None:
    result = replace(estimate(), dataset=replace(estimate().dataset, task=task, unit=unit))
    text = card.render_dataset_card(content(result))
    assert f"mean loss at the checkpoint, {unit}, over all {items} or those of the draws" in text


def test_the_card_of_results_opens_in_the_viewer_and_links_to_the_model() -> None:
    text = card.render_dataset_card(content(estimate()))
    result = metadata(text)
    assert result["configs"] == [{"config_name": "llc", "data_files": "llc/results.jsonl"}]
    assert result["tags"] == ["llc"]
    assert "model-index" not in result
    assert "[org/model](/org/model)" in text
    assert text.count(BEGIN) == text.count(END) == 1


@pytest.mark.parametrize(
    "model", ["/evil.example", "//evil.example/x", "../../spaces/evil/x", "x) [a](https://evil.example"]
)
def test_a_model_that_is_no_id_is_no_link(model: str) -> None:
    result = content(estimate())
    text = card.render_dataset_card(replace(result, curve=replace(result.curve, model=model)))
    body = text.partition("\n---\n")[2].partition("## Local")[0]
    links = [token for block in MarkdownIt().parse(body) for token in block.children or [] if token.type == "link_open"]
    assert not links


def test_the_card_of_a_trainers_model_says_how_it_was_trained() -> None:
    text = card.render_trainer_card(content(estimate()), {"steps": "500", "training loss at the end": "2.5|1"})
    assert "trainer" in metadata(text)["tags"]
    assert "| steps | 500 |" in text
    assert "| training loss at the end | 2.5\\|1 |" in text
    assert text.count(BEGIN) == 1


def test_the_settings_file_reads_as_settings(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(card.settings_file(content(estimate())))
    settings = read_settings(tmp_path / "settings.yaml")
    assert (settings["gamma"], settings["lr"], settings["batch_size"], settings["sampler"]) == (
        7800.0,
        8.3e-5,
        8,
        "sgld-lm",
    )


def test_the_command_leaves_out_checks_that_were_not_made() -> None:
    unchecked = estimate(diagnostics=replace(DIAGNOSTICS, step_size_stderr=None))
    assert command_of(render(unchecked))[-1] == "--no-checks"
    assert "--no-checks" not in command_of(render(estimate()))


def test_hostile_names_stay_words_in_the_metadata() -> None:
    dataset = replace(estimate().dataset, id=HOSTILE, config="no", split="12:30", revision="1e5")
    text = render(estimate(revision=HOSTILE, dataset=dataset), name=HOSTILE)
    flat = " ".join(HOSTILE.split())
    for read in (yaml.safe_load, YAML(typ="safe").load):
        result = read(text[4 : text.index("\n---\n", 4)])
        (entry,) = result["model-index"][0]["results"]
        assert result["model-index"][0]["name"] == flat
        assert entry["dataset"] == {"type": flat, "name": flat, "config": "no", "split": "12:30", "revision": "1e5"}
        assert entry["metrics"][0]["args"]["model_revision"] == flat
        assert entry["metrics"][0]["args"]["lr"] == 8.3e-5
    assert len(results(text)) == 1


def test_hostile_names_stay_words_in_the_body() -> None:
    dataset = replace(estimate().dataset, id=HOSTILE, config=HOSTILE)
    result = estimate(model=HOSTILE, revision=HOSTILE, dataset=dataset)
    text = render(result, name=HOSTILE, about=HOSTILE)
    body = text[text.index("\n---\n", 4) + 5 :]
    assert (body.count(BEGIN), body.count(END), body.count("```bash")) == (1, 1, 1)
    outside_code = re.sub(r"```bash\n.*\n```", "", body)
    assert "<script" not in outside_code
    assert "](http://evil)" not in outside_code
    assert not re.search(r"(?<!\\)`\$\(rm", outside_code)
    (row,) = (line for line in body.splitlines() if "2.8594" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 7
    command = command_of(body)
    assert command[command.index("--dataset-config") + 1] == " ".join(HOSTILE.split())


def test_a_code_block_cannot_be_closed_from_inside() -> None:
    assert escaping.code_block("a\n```\nb", "bash") == "````bash\na\n```\nb\n````"


def local() -> Estimate:
    dataset = replace(estimate().dataset, id="/home/someone/demo/text.jsonl", revision="sha256:" + "d" * 64)
    return estimate(
        model="/home/someone/demo/checkpoints/step512",
        revision=None,
        sha="sha256:" + "e" * 64,
        dataset=dataset,
        run_dir="/home/someone/demo/runs/step512",
    )


def test_a_card_of_local_files_names_no_folder_of_this_machine() -> None:
    paths = card.without_paths(local(), Path("/srv"))
    text = render(paths)
    assert "someone" not in text
    (result,) = results(text)
    assert (result.dataset_type, result.dataset_name) == ("local", "text.jsonl")
    assert result.metric_args is not None
    assert result.metric_args["model_revision"] == "step512"


def test_without_paths_keeps_them_relative_to_the_root() -> None:
    paths = card.without_paths(local(), Path("/home/someone/demo"))
    assert (paths.model, paths.dataset.id, paths.run_dir) == ("checkpoints/step512", "text.jsonl", "runs/step512")
    assert "someone" not in str(paths.to_dict())


def test_without_paths_keeps_only_the_name_of_what_lies_elsewhere() -> None:
    paths = card.without_paths(local(), Path("/srv"))
    assert (paths.model, paths.dataset.id, paths.run_dir) == ("step512", "text.jsonl", "step512")


def test_without_paths_leaves_hub_names_alone() -> None:
    paths = card.without_paths(estimate(), Path("/home/someone"))
    assert (paths.model, paths.dataset.id) == ("org/model", "org/text")


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (24.67, 0.22, "24.67 ± 0.22"),
        (24.67, 12.0, "25 ± 12"),
        (56789.0, 1234.5, "56800 ± 1200"),
        (1.23456, 0.0997, "1.23 ± 0.10"),
        (0.012341, 0.00067, "0.01234 ± 0.00067"),
        (3.0, 0.0, "3 ± 0"),
    ],
)
def test_numbers_have_the_digits_that_their_error_leaves(value: float, error: float, shown: str) -> None:
    assert escaping.with_error(value, error) == shown


def parts(count: int, **named: Any) -> ComponentCurves:
    """Curves of heads at two checkpoints, the later ones larger."""
    curves = {}
    for head in range(count):
        settings = replace(SETTINGS, component=f"l0h{head}")
        estimates = [estimate(step, head + 1.0, settings=settings, **named) for step in (8, 512)]
        curves[f"l0h{head}"] = content(*estimates).curve
    return ComponentCurves(model="org/model", curves=curves, run_dir=".")


def test_the_card_of_a_single_component_says_that_nothing_else_moves() -> None:
    body = render(estimate(settings=replace(SETTINGS, component="l0h1")))
    assert "Only the component l0h1 moves, d = " in body
    assert "all other weights stay at w" in body
    assert "Only the component" not in render(estimate())
    assert "### Components" not in render(estimate())
    adapter: dict[str, Any] = {"base_model": "org/base", "base_sha": "b" * 40}
    assert "only its own weights move" in render(estimate(**adapter))
    assert "only its own weights move" not in render(estimate(**adapter, settings=replace(SETTINGS, component="l0")))


def test_components_are_a_table_with_their_heat_map_and_the_largest_of_many() -> None:
    body = render(estimate(512), components=parts(20))
    rows = re.findall(r"^\| (l0h\d+) \| [\d,]+ \| (\S+) ± \S+ \| converged \|$", body, flags=re.MULTILINE)
    assert [name for name, _ in rows] == [f"l0h{head}" for head in range(4, 20)]
    assert [float(value) for _, value in rows] == [head + 1.0 for head in range(4, 20)]
    assert "![LLC of components](llc/components.png)" in body
    assert "At step512, with nβ = 268.6 and γ = 7800." in body
    assert "4 smaller ones, and all checkpoints, are in [llc/components.jsonl](llc/components.jsonl)." in body
    without = render(estimate(512), components=parts(2), component_picture=False)
    assert "components.png" not in without
    assert "\nAll checkpoints are in [llc/components.jsonl]" in without


def test_hostile_names_of_checkpoints_stay_words_beside_components() -> None:
    curves = parts(1).curves["l0h0"]
    named = replace(curves, points=tuple(replace(point, revision=HOSTILE) for point in curves.points))
    hostile = ComponentCurves(model="org/model", curves={"l0h0": named}, run_dir=".")
    kinds = {
        token.type for token in MarkdownIt("commonmark").enable("table").parse(render(estimate(8), components=hostile))
    }
    assert kinds <= {
        token.type for token in MarkdownIt("commonmark").enable("table").parse(render(estimate(8), components=parts(1)))
    }
