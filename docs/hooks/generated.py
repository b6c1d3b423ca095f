"""MkDocs hook: files of the site that are made from others.

A page for each notebook in `docs/examples`, with the outputs that are stored in it, and the picture of the demo.
"""

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PICTURE = "model_cards/demo/llc/curve.png"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a Markdown page beside each notebook, which itself stays for download, and the picture of the demo."""
    picture = Path(config.docs_dir).parent / PICTURE
    files.append(File.generated(config, "assets/demo_curve.png", abs_src_path=str(picture)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(config.docs_dir) / notebook.src_uri
        content = to_markdown(json.loads(path.read_text(encoding="utf-8")), path.name)
        files.append(File.generated(config, str(Path(notebook.src_uri).with_suffix(".md")), content=content))
    return files


def to_markdown(notebook: dict[str, Any], name: str) -> str:
    """The cells of a notebook with their outputs; the first cell holds the title.

    Args:
        name: file name of the notebook, for the link to it.
    """
    title, *others = notebook["cells"]
    parts = ["".join(title["source"]), f"[Download this notebook]({name}){{ download }}"]
    for cell in others:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [_output(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    png = "".join(output["data"]["image/png"]).replace("\n", "")
    return f"![figure](data:image/png;base64,{png})"
