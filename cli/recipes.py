"""`hf-llc recipes`: published settings, their source, and what follows from their numbers."""

from typing import TYPE_CHECKING

from . import options as o
from .output import Form, chosen, write_agent, write_json, write_line, write_table

if TYPE_CHECKING:
    from hf_llc.settings.recipes import Recipe

COLUMNS = ("recipe", "γ", "nβ", "ε", "batch", "draws", "εγt", "γ/nβ")


def recipes(
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.QuietNames = False,
) -> None:
    """List published settings that --recipe can name, with their source.

    εγt says how far a flat direction relaxes until the last draw: below about 3 the number depends on
    how long the chains are. γ/nβ is the resolution: curvatures below it are not seen. Options,
    --set and --settings take precedence over a recipe.

    Examples:

    \b
    hf-llc recipes
    hf-llc recipes --json
    hf-llc estimate EleutherAI/pythia-70m --recipe smdl-2025-70m
    hf-llc scan me/my-model --recipe rllc-2024 --lr 1e-4
    """
    from hf_llc.settings.recipes import RECIPES

    form = chosen(format, as_json, quiet)
    if form is Form.JSON:
        write_json([recipe.to_dict() for recipe in RECIPES.values()])
    elif form is Form.AGENT:
        write_agent({name: recipe.to_dict() for name, recipe in RECIPES.items()})
    elif form is Form.QUIET:
        for name in RECIPES:
            write_line(name)
    else:
        write_table(f"{len(RECIPES)} recipes", COLUMNS, [_row(recipe) for recipe in RECIPES.values()])
        for recipe in RECIPES.values():
            about = f"{recipe.model}; {recipe.settings['sampler']}; {recipe.source}"
            write_line(f"{recipe.name} ({about}): {'; '.join(recipe.findings)}.")


def _row(recipe: "Recipe") -> tuple[str, ...]:
    s = recipe.settings
    draws = f"{s['chains']} × {s['draws']}" if "draws" in s else "–"
    numbers = (s.get("gamma"), s.get("n_beta"), s.get("lr"), s.get("batch_size"))
    derived = (recipe.relaxation_at_end, recipe.resolution)
    return (recipe.name, *map(_number, numbers), draws, *map(_number, derived))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
