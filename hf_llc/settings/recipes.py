"""Published settings by name: `RECIPES`, with their source and what they leave unequilibrated; `RecipeSettings`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from hf_llc.errors import SettingsError, did_you_mean
from hf_llc.settings.bounds import check_fields, shown
from hf_llc.settings.option import Option

CUSTOM = {"start": "anchor", "gradient": "minibatch", "batches": "independent", "baseline": "paired"}
"""What all of them have in common: chains from w* that follow gradients of minibatches. The paired baseline has the
same expectation as the published one, which is the loss at w* of other minibatches, and less noise."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that a publication or a tool uses.

    Attributes:
        model: what they were used on. source: where they are published. url: a page of it.
        settings: by their names in a settings file; what is not among them is left to the user, or chosen.
        remarks: what differs here, and what is not known of them.
    """

    name: str
    model: str
    source: str
    url: str
    settings: Mapping[str, Any]
    remarks: tuple[str, ...] = ()

    def relaxation(self, steps: int) -> float | None:
        """εγt after this many steps: a flat direction forgets its start as e^(−εγt/2). None without ε, γ or steps."""
        lr, gamma = self.settings.get("lr"), self.settings.get("gamma")
        return None if lr is None or gamma is None else lr * gamma * steps

    @property
    def first_draw(self) -> int:
        """The step of the first draw."""
        return int(self.settings.get("burn_in", 0) + self.settings.get("thin", 1))

    @property
    def steps(self) -> int | None:
        """Steps of a chain; None where its draws are not published."""
        settings = self.settings
        return settings.get("burn_in", 0) + settings["draws"] * settings.get("thin", 1) if "draws" in settings else None

    @property
    def relaxation_at_end(self) -> float | None:
        """εγt after the last draw."""
        return None if self.steps is None else self.relaxation(self.steps)

    @property
    def resolution(self) -> float | None:
        """γ/nβ: curvatures below it are not seen; None where nβ depends on the data."""
        n_beta, gamma = self.settings.get("n_beta"), self.settings.get("gamma")
        return None if n_beta is None or gamma is None else gamma / n_beta

    @property
    def findings(self) -> tuple[str, ...]:
        """What follows from the numbers alone, before anything is sampled, and the remarks."""
        sentences = []
        if self.settings.get("gamma") == 0:
            sentences.append("no localizing prior: nothing but the loss bounds the chains")
        if "lr" not in self.settings:
            sentences.append("its step size is not part of it: set `lr`, or it is chosen from the curvature")
        end = self.relaxation_at_end
        if end is not None and end > 0:
            first, last = _share(self.relaxation(self.first_draw)), _share(end)
            sentences.append(f"a flat direction has {first} of its variance at the first draw and {last} at the last")
        if self.settings.get("burn_in") == 0:
            sentences.append("without a burn-in: the way up from w* is averaged into the number")
        return (*sentences, *self.remarks)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "name": self.name,
            "model": self.model,
            "source": self.source,
            "url": self.url,
            "settings": dict(self.settings),
            "relaxation": self.relaxation_at_end,
            "resolution": self.resolution,
            "findings": list(self.findings),
        }

    def sentence(self, asked: Any) -> str:
        """The recipe in words, beside the number of these settings: its source, and which of its settings differ."""
        changed = [name for name, value in self.settings.items() if getattr(asked, name) != value]
        other = f", with another value of {', '.join(changed)}" if changed else ""
        return f"recipe = {self.name}: the settings of {self.source}{other}: {'; '.join(self.findings)}."


def _share(relaxation: float | None) -> str:
    share = -100 * math.expm1(-(relaxation or 0.0))
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


_GUESSED = "whether there was a burn-in is not stated; none here"
_PRECONDITIONED = (
    "the preconditioner here is scaled to the gradients of each tensor and frozen after the burn-in; the published one "
    "is not"
)
SMDL_LR = {
    "14m": 1e-3, "31m": 3e-4, "70m": 3e-4, "160m": 1e-4, "410m": 1e-4, "1b": 3e-5, "1.4b": 3e-5, "2.8b": 1e-5,
    "6.9b": 3e-6,
}  # fmt: skip
"""ε by the size of the Pythia model."""


def _smdl(size: str | None) -> Recipe:
    lr = {} if size is None else {"lr": SMDL_LR[size]}
    sizes = f"a step size for each size of model: smdl-2025-{', -'.join(SMDL_LR)}" if size is None else None
    return Recipe(
        name="smdl-2025" if size is None else f"smdl-2025-{size}",
        model="Pythia 14M to 6.9B" if size is None else f"Pythia {size.upper()}",
        source="Urdshals et al. 2025 (arXiv 2510.12077)",
        url="https://arxiv.org/abs/2510.12077",
        settings={
            **CUSTOM, "sampler": "sgld", "gamma": 300.0, "n_beta": 30.0, **lr, "batch_size": 32, "chains": 4,
            "draws": 100, "burn_in": 0,
        },
        remarks=(_GUESSED,) if sizes is None else (sizes, _GUESSED),
    )  # fmt: skip


_RECIPES = (
    Recipe(
        name="devinterp-default",
        model="any, of devinterp 2.0.1",
        source="devinterp 2.0.1, its defaults",
        url="https://github.com/timaeus-research/devinterp",
        settings={
            **CUSTOM, "sampler": "sgld", "gamma": 0.0, "n_beta": 32 / math.log(32), "batch_size": 32, "chains": 4,
            "draws": 200, "burn_in": 0,
        },
        remarks=(
            "nβ = B / log B of its batch of 32; Lau et al. have n / log n",
            "devinterp averages the draws of a burn-in that is asked for, too",
        ),
    ),
    Recipe(
        name="lau-2023-dln",
        model="deep linear nets of widths up to 100",
        source="Lau et al. 2023 (arXiv 2308.12108), code",
        url="https://arxiv.org/abs/2308.12108",
        settings={
            **CUSTOM, "sampler": "sgld", "gamma": 1.0, "lr": 5e-7, "batch_size": 500, "chains": 2, "draws": 1000,
            "burn_in": 9000,
        },
        remarks=(
            "nβ = n / log n with n = 100,000 there",
            "one chain there, two here: one cannot show that it disagrees with another",
        ),
    ),
    Recipe(
        name="rllc-2024",
        model="attention-only transformer of two layers, 3M weights",
        source="Wang et al. 2024 (arXiv 2410.02984), code",
        url="https://arxiv.org/abs/2410.02984",
        settings={
            **CUSTOM, "sampler": "sgld", "gamma": 200.0, "n_beta": 30.0, "lr": 1e-3, "batch_size": 32, "chains": 4,
            "draws": 200, "burn_in": 0,
        },
        remarks=("of components: add `component` or `params`",),
    ),
    Recipe(
        name="susceptibility-2025",
        model="attention-only transformer of two layers, 3M weights",
        source="Baker et al. 2025 (arXiv 2504.18274)",
        url="https://arxiv.org/abs/2504.18274",
        settings={
            **CUSTOM, "sampler": "sgld", "gamma": 300.0, "n_beta": 30.0, "lr": 1e-3, "batch_size": 64, "chains": 4,
            "draws": 200, "burn_in": 0,
        },
        remarks=(_GUESSED,),
    ),
    Recipe(
        name="bif-2025",
        model="Pythia",
        source="Kreer et al. 2025 (arXiv 2509.26544) and its follow-up",
        url="https://arxiv.org/abs/2509.26544",
        settings={**CUSTOM, "sampler": "rmsprop-sgld", "gamma": 1000.0, "n_beta": 1000.0, "lr": 1e-5},
        remarks=("chains, draws and batch are not stated; the defaults here", _PRECONDITIONED),
    ),
    Recipe(
        name="spectroscopy-2026",
        model="Pythia 1.4B",
        source="Gordon et al. 2026 (arXiv 2601.12703)",
        url="https://arxiv.org/abs/2601.12703",
        settings={
            **CUSTOM, "sampler": "rmsprop-sgld", "gamma": 300.0, "n_beta": 10.0, "lr": 1e-5, "batch_size": 16,
            "chains": 4, "draws": 100, "burn_in": 0, "thin": 160,
        },
        remarks=(_GUESSED, _PRECONDITIONED),
    ),
    *map(_smdl, (None, *SMDL_LR)),
)  # fmt: skip
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """Published settings that are taken where no others are given.

    Attributes:
        recipe: the name of one of `RECIPES`; its settings count for those that are not given otherwise.
    """

    recipe: Annotated[
        str | None,
        Option(
            help="Published settings by name, for all that is not given otherwise; `hf-llc recipes` lists them.",
            panel="Sampling",
            metavar="NAME",
            published=False,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.recipe is not None:
            recipe_named(self.recipe)


def recipe_named(name: Any) -> Recipe:
    """The recipe of that name.

    Raises:
        SettingsError: there is none; near ones are named.
    """
    if not isinstance(name, str) or name not in RECIPES:
        close = did_you_mean(name[:60], list(RECIPES)) if isinstance(name, str) else ""
        hint = close if close.startswith("; did you mean") else "."
        raise SettingsError(f"recipe must be one that `hf-llc recipes` lists, got {shown(name)}{hint}")
    return RECIPES[name]


def with_recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by name, on top of those of the `recipe` that is among them.

    Raises:
        SettingsError: there is no such recipe.
    """
    name = settings.get("recipe")
    return dict(settings) if name is None else {**recipe_named(name).settings, **settings}
