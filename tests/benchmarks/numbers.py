"""Numbers that a change of layout must not change: the demo's rows, the cases of `validate`, four nets of the panel.

`python -m tests.benchmarks.numbers` prints a line for each with every digit; compare what two commits print.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.panel import nets

NETS = 4
DRAWS = "200"


def lines_of(*arguments: str) -> list[dict[str, Any]]:
    """The JSON that a command prints, one object a number."""
    command = [sys.executable, "-m", "hf_llc.cli", *arguments, "--json"]
    printed = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    value = json.loads(printed)
    numbers: list[dict[str, Any]] = value["points"] if isinstance(value, dict) else value
    return numbers


def main() -> None:
    """Prints what the commands of this checkout compute."""
    with tempfile.TemporaryDirectory() as folder:
        for point in lines_of("demo", "--output-dir", str(Path(folder) / "demo"), "--num-processes", "1"):
            print("demo", point["step"], repr(point["llc"]), repr(point["stderr"]), point["verdict"], flush=True)
        for case in lines_of("validate"):
            print("validate", case["case"], repr(case["llc"]), repr(case["stderr"]), case["verdict"], flush=True)
        for net in nets()[:NETS]:
            widths = ",".join(map(str, net.widths))
            shape = ["--widths", widths, "--rank", str(net.rank), "--samples", str(net.samples), "--draws", DRAWS]
            for case in lines_of("validate", "--case", "dln", *shape):
                print("panel", net.name, repr(case["llc"]), repr(case["stderr"]), case["verdict"], flush=True)


if __name__ == "__main__":
    main()
