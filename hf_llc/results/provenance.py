"""What a number was computed with: versions of Python and of the libraries that it depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

REPORTED = ("hf-llc", "torch", "transformers", "datasets", "accelerate", "huggingface_hub", "arviz-stats", "numpy")


def versions(*, with_adapter: bool = False) -> dict[str, str]:
    """Versions of Python and of every library that the number depends on, of an adapter that of peft too."""
    known = {"python": platform.python_version()}
    for name in (*REPORTED, "peft") if with_adapter else REPORTED:
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = "not installed"
    return known
