"""The example notebooks, run cell by cell; `python -m tests.notebooks` stores their outputs.

It runs in a folder that holds `hf-llc-demo`, as `hf-llc demo` leaves it. `python -m tests.notebooks 06_grokking` runs
those that are named.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

EXAMPLES = Path(__file__).parent.parent / "docs/examples"
NOTEBOOKS = tuple(sorted(EXAMPLES.glob("*.ipynb")))


def run(
    notebook: dict[str, Any],
    figures: Callable[[], list[bytes]] = lambda: [],
    parameters: Mapping[str, Any] | None = None,
    namespace: dict[str, Any] | None = None,
) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell in order: what it prints, and the figures that it draws.

    Args:
        figures: takes the figures that are open, as PNG.
        parameters: values that replace those of the cell with the tag `parameters`.
        namespace: receives the variables of the notebook.
    """
    namespace = {} if namespace is None else namespace
    namespace["__name__"] = "__main__"
    outputs = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                last = _executed("".join(cell["source"]), namespace)
            if "parameters" in cell["metadata"].get("tags", []):
                namespace.update(parameters or {})
            shown = [_png(last)] if isinstance(last, Figure) else []
            outputs.append([*_stream(printed.getvalue()), *map(_image, [*figures(), *shown])])
    return outputs


def _executed(source: str, namespace: dict[str, Any]) -> Any:
    """The value of the last expression, which Jupyter shows; None where the cell ends in a statement."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "<cell>", "exec"), namespace)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return buffer.getvalue()


def _stream(text: str) -> list[dict[str, Any]]:
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else []


def _image(png: bytes) -> dict[str, Any]:
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": ["<Figure>"]}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def open_figures() -> list[bytes]:
    """The open figures as PNG; closes them."""
    from matplotlib import pyplot

    pictures = []
    for number in pyplot.get_fignums():
        buffer = io.BytesIO()
        pyplot.figure(number).savefig(buffer, format="png", dpi=80)
        pictures.append(buffer.getvalue())
    pyplot.close("all")
    return pictures


def main() -> None:
    """Run every notebook here, or those that are named, and store its outputs."""
    os.environ["MPLBACKEND"] = "Agg"
    names = sys.argv[1:]
    if unknown := set(names) - {path.stem for path in NOTEBOOKS}:
        raise SystemExit(f"no such notebooks: {', '.join(sorted(unknown))}")
    for path in [path for path in NOTEBOOKS if not names or path.stem in names]:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for count, (cell, outputs) in enumerate(zip(cells, run(notebook, open_figures), strict=True), start=1):
            cell.update(outputs=outputs, execution_count=count)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
