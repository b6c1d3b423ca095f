"""What `--revisions` means, and what it refuses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.step_names import place_of
from hf_llc.errors import NotFoundError, SettingsError

STEPS = [0, *(2**k for k in range(10)), *range(1000, 144000, 1000)]
PYTHIA = ["main", *(f"step{step}" for step in sorted(STEPS, key=str))]
PLACES = {name: place_of(name) for name in PYTHIA}


def chosen(*texts: str, every: int | None = None) -> list[str]:
    return Selection.parse(texts, every).choose(PLACES, "org/pythia")


def steps(*texts: str, every: int | None = None) -> list[int | None]:
    return [place_of(name).step for name in chosen(*texts, every=every)]


def test_everything_with_a_step_is_the_default_and_comes_in_order() -> None:
    assert steps() == steps("all") == STEPS
    assert chosen("all,main")[-1] == "main"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("step512", [512]),
        ("step512, step1,step512", [1, 512]),
        ("step?", [0, 1, 2, 4, 8]),
        ("re:step(1|2),?0*", [1, 2, 1000, 2000, 10000, 20000, 100000]),
        ("0..4", [0, 1, 2, 4]),
        ("step2..step8", [2, 4, 8]),
        ("..1", [0, 1]),
        ("142500..", [143000]),
        ("1000..31000:10000", [1000, 11000, 21000, 31000]),
        ("every:70000", [0, 70000, 140000]),
        ("first:3", [0, 1, 2]),
        ("last:2", [142000, 143000]),
        ("linear:3", [0, 71000, 143000]),
        ("linear:1", [143000]),
    ],
)
def test_terms(text: str, expected: list[int]) -> None:
    assert steps(text) == expected


def test_log_is_evenly_spaced_in_the_logarithm() -> None:
    assert steps("log:6") == [0, 8, 128, 1000, 13000, 143000]
    assert steps("log:1000") == STEPS


def test_several_options_add_up_and_every_thins_them() -> None:
    assert steps("step1", "step512") == [1, 512]
    assert steps("re:step.*", every=100000) == [0, 100000]
    with pytest.raises(NotFoundError, match="multiple of 7"):
        chosen("main", every=7)


def test_a_file_holds_terms(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("step1  # the first\n\n16..32\n")
    assert steps(f"@{path}") == [1, 16, 32]
    with pytest.raises(NotFoundError, match="cannot be read"):
        chosen("@nowhere")


def test_commits_are_taken_as_they_are() -> None:
    assert chosen("0123abc,step1") == ["step1", "0123abc"]


def test_commits_of_a_branch_are_another_series() -> None:
    assert Selection.parse(["commits:main", "log:3"]) == Selection(terms=("log:3",), commits="main")
    assert Selection.parse(["commits:main"]).terms == ("all",)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["subfolder:runs/*/step-*,log:3"], Selection(subfolder="runs/*/step-*", terms=("log:3",))),
        (["repos:org/a,org/b,last:1"], Selection(repos=("org/a", "org/b"), terms=("last:1",))),
        (["repos:m-step_*", "2000.."], Selection(repos=("m-step_*",), terms=("2000..",))),
        (["repos:a,repos:b,repos:a"], Selection(repos=("a", "b"))),
    ],
)
def test_places_are_named_beside_the_terms(texts: list[str], expected: Selection) -> None:
    assert Selection.parse(texts) == expected


def test_repositories_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("org/a\nb-step1k, org/c  # two in a line\n")
    assert Selection.parse([f"repos:@{path}", "first:1"]) == Selection(
        repos=("org/a", "b-step1k", "org/c"), terms=("first:1",)
    )


def test_unknown_names_come_with_near_ones() -> None:
    with pytest.raises(NotFoundError, match=r"no checkpoint step51000x; did you mean .*step51000"):
        chosen("step51000x")
    with pytest.raises(NotFoundError, match="no checkpoint ckpt"):
        chosen("ckpt*")


@pytest.mark.parametrize(
    "text",
    [
        "re:(",
        "log:0",
        "log:many",
        "9..3",
        "0..9:0",
        " , ",
        "commits:",
        "commits:a,commits:b",
        "subfolder:",
        "subfolder:/etc/*",
        "subfolder:a/../..",
        "subfolder:a,subfolder:b",
        "repos:",
        "repos:a/b/c",
        "repos:/a",
        "commits:main,subfolder:a",
        "repos:a,commits:main",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="`revisions`"):
        Selection.parse([text])


def test_stages_that_begin_anew_are_one_training() -> None:
    names = ["stage1-step1000", "stage1-step2000", "stage2-step1000", "stage2-step2000", "stage2-step1500"]
    result = Selection.parse(["linear:3"]).choose({name: place_of(name) for name in names}, "x")
    assert result == ["stage1-step1000", "stage1-step2000", "stage2-step2000"]


@given(
    st.sets(st.integers(0, 10**6), min_size=1, max_size=60),
    st.integers(1, 80),
    st.sampled_from(["log", "linear", "first", "last"]),
)
def test_counted_terms_choose_that_many_in_order(known: set[int], count: int, kind: str) -> None:
    places = {f"step{step}": place_of(f"step{step}") for step in known}
    results = [place_of(name).step or 0 for name in Selection.parse([f"{kind}:{count}"]).choose(places, "x")]
    assert len(results) == min(count, len(known))
    assert results == sorted(set(results) & known)
    if kind in {"log", "linear"} and count > 1:
        assert {min(known), max(known)} <= set(results)


@given(st.sampled_from(["commits:", "subfolder:", "repos:", "repos:org/a,"]), st.text(max_size=20))
def test_any_place_is_taken_or_refused(kind: str, text: str) -> None:
    if "@" in text:
        return
    try:
        result = Selection.parse([kind + text])
    except (NotFoundError, SettingsError):
        return
    assert sum([result.commits is not None, result.subfolder is not None, bool(result.repos)]) == 1


@given(st.sets(st.integers(0, 10**5), min_size=1, max_size=30), st.integers(0, 10**5), st.integers(0, 10**5))
def test_a_range_chooses_what_lies_between(known: set[int], one: int, other: int) -> None:
    low, high = sorted((one, other))
    places = {f"step{step}": place_of(f"step{step}") for step in known}
    inside = sorted(step for step in known if low <= step <= high)
    selection = Selection.parse([f"{low}..{high}"])
    if inside:
        assert selection.choose(places, "x") == [f"step{step}" for step in inside]
    else:
        with pytest.raises(NotFoundError):
            selection.choose(places, "x")


@given(st.text(max_size=20))
def test_any_text_chooses_or_is_refused(text: str) -> None:
    if text.strip().startswith("@") or "@" in text:
        return
    try:
        assert set(chosen(text)) <= set(PYTHIA) | {text.strip()}
    except (NotFoundError, SettingsError):
        return
