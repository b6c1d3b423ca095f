"""The public surface: what `hf_llc` names is there, sorted, and does not cost an import of torch."""

import subprocess
import sys

import hf_llc


def test_exported_names_are_sorted_and_exist() -> None:
    assert list(hf_llc.__all__) == sorted(hf_llc.__all__)
    assert all(getattr(hf_llc, name) is not None for name in hf_llc.__all__)


def test_settings_and_results_do_not_import_torch() -> None:
    code = "import sys, hf_llc, hf_llc.execution.plan, hf_llc.hub.reference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
