"""The card of the demo model as it is published; `python -m tests.demo_card` writes it from the numbers beside it.

New numbers: `hf-llc demo`, then copy its `llc/results.jsonl` to `model_cards/demo/llc/` and run this.
"""

from pathlib import Path

from hf_llc.report.card.files import CARD, headline_of, write_files
from hf_llc.report.card.metadata import RESULTS
from hf_llc.report.card.render import Content, render_model_card
from hf_llc.results.jsonl import curve_from
from hf_llc.scans.demo import ABOUT, NAME

DEMO = Path(__file__).parent.parent / "model_cards" / "demo"


def write_card(folder: Path) -> None:
    """Writes the card, and all that belongs to it, from the results in `model_cards/demo`."""
    curve = curve_from((DEMO / RESULTS).read_text(encoding="utf-8"), ".")
    content = Content(curve=curve, name=NAME, headline=headline_of(curve, ()), command="hf-llc demo")
    write_files(folder, content)
    last = curve.points[-1].estimate
    assert last is not None
    about = ABOUT.format(parameters=last.diagnostics.dimension)
    (folder / CARD).write_text(render_model_card(content, about=about), encoding="utf-8")


if __name__ == "__main__":
    write_card(DEMO)
