"""The pictures of influences and susceptibilities (matplotlib)."""

from pathlib import Path

import numpy

from hf_llc.results.figures import style
from hf_llc.results.figures.heat_map import heat_map
from hf_llc.results.figures.text_map import text_map
from hf_llc.results.influence import Influence
from hf_llc.results.matrix import MatrixQuality, MatrixVerdict
from hf_llc.results.susceptibility import Susceptibility


def influence(path: Path, result: Influence) -> None:
    """Draws the loss kernel: correlations have one scale for all items."""
    between = result.kernel.copy()
    # A loss agrees with itself, which would leave no colours for the others.
    numpy.fill_diagonal(between, numpy.nan)
    figure = heat_map(
        between,
        result.names,
        result.names,
        title=f"Loss kernel of {len(result.names)} items",
        label="correlation of losses under the posterior",
        stderr=result.kernel_stderr,
        small_print=_posterior(result),
        warnings=_warnings(result.kernel_quality),
    )
    style.save(figure, path)


def susceptibilities(path: Path, result: Susceptibility) -> None:
    """Draws the covariance parts, less their mean over items and in units of their standard deviation."""
    figure = heat_map(
        result.standardised,
        result.components,
        result.items,
        title=f"Susceptibilities of {len(result.components)} components to {len(result.items)} items",
        label="covariance part, standardised over items",
        stderr=result.standardised_stderr,
        small_print=_posterior(result),
        warnings=_warnings(result.quality),
        row_name="component",
    )
    style.save(figure, path)


def susceptibilities_of_text(path: Path, result: Susceptibility, component: int) -> None:
    """Draws the covariance parts of one component on the tokens of the text."""
    figure = text_map(
        result.items,
        result.standardised[component],
        title=f"Susceptibility of {result.components[component]} to each token",
        label="covariance part, standardised over tokens",
        stderr=result.standardised_stderr[component],
        small_print=_posterior(result),
        warnings=_warnings(result.qualities[component]),
    )
    style.save(figure, path)


def _posterior(result: Influence | Susceptibility) -> str:
    return f"nβ = {result.n_beta:.4g}, γ = {result.gamma:.4g}, n = {result.n}, {result.draws} draws"


def _warnings(quality: MatrixQuality) -> list[str]:
    return [] if quality.verdict is MatrixVerdict.RESOLVED else [str(quality)]
