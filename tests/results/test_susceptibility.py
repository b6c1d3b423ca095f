"""Pictures of susceptibilities: what is noise is pale, and said to be noise."""

from dataclasses import replace

import numpy
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from hf_llc.results.figures.heat_map import FADED
from hf_llc.results.matrix import MatrixVerdict
from tests.report.test_page_matrices import quality_of, susceptibility_of

RESOLVED, PARTLY, NOISE = MatrixVerdict


def words_of(figure: Figure) -> str:
    """The title and what stands below it."""
    axes = figure.axes[0]
    return "\n".join([axes.get_title(loc="left"), *(text.get_text() for text in axes.texts)])


def painted(figure: Figure) -> NDArray[numpy.float64]:
    """Red, green and blue of the cells."""
    return numpy.asarray(figure.axes[0].images[0].get_array(), dtype=float)[..., :3]


def test_a_matrix_of_noise_is_pale_and_its_title_says_noise() -> None:
    clear = susceptibility_of(RESOLVED, (RESOLVED, RESOLVED))
    noise = susceptibility_of(NOISE, (RESOLVED, RESOLVED))
    assert painted(clear.plot()).min() < 0.6
    assert painted(noise.plot()).min() >= 1 - FADED
    assert words_of(noise.plot()).startswith("Susceptibilities: noise\n")
    assert "Pale throughout, as it is noise." in words_of(noise.plot())
    assert "noise" not in words_of(clear.plot())


def test_a_component_that_is_noise_is_pale() -> None:
    figure = susceptibility_of(PARTLY, (RESOLVED, NOISE)).plot("covariance")
    first, second = painted(figure)
    assert first.min() < 0.95
    assert second.min() >= 1 - FADED
    assert words_of(figure).startswith("Susceptibilities\n")
    assert "Pale throughout, as it is noise: l0h1." in words_of(figure)


def test_a_total_that_is_noise_is_pale_whatever_the_covariance_is() -> None:
    result = replace(susceptibility_of(RESOLVED, (RESOLVED, NOISE)), total_quality=quality_of(NOISE))
    assert painted(result.plot("total")).min() >= 1 - FADED
    swapped = replace(susceptibility_of(NOISE, (NOISE, NOISE)), total_quality=quality_of(RESOLVED))
    assert painted(swapped.plot("total")).min() < 0.6


def test_a_text_of_noise_is_pale_and_its_title_says_noise() -> None:
    def darkest(figure: Figure) -> float:
        boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
        return float(numpy.min([box.get_facecolor()[:3] for box in boxes]))

    result = susceptibility_of(PARTLY, (NOISE, RESOLVED))
    noise, clear = (result.text(name, "covariance") for name in result.components)
    assert darkest(noise) >= 1 - FADED
    assert darkest(clear) < 0.6
    assert words_of(noise).startswith("Susceptibility of l0h0: noise\n")
    assert words_of(clear).startswith("Susceptibility of l0h1\n")
