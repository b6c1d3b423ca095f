"""Finished runs on this disk: what `estimate`, `scan` and `demo` left, read back as a curve."""

import json
from pathlib import Path

from hf_llc.curve import Curve
from hf_llc.errors import NotFoundError, SourceError
from hf_llc.results import SCHEMA, Estimate

SCAN, ESTIMATE = "scan.json", "estimate.json"


def load_run(folder: Path) -> Curve:
    """The curve of a scan's folder, or that of one point of an estimate's.

    Raises:
        NotFoundError: the folder holds neither. SourceError: the file is damaged or of another schema.
    """
    for name in (SCAN, ESTIMATE):
        path = folder / name
        if path.is_file():
            return _read(path)
    raise NotFoundError(
        f"{folder} holds no finished run (no {SCAN} or {ESTIMATE}). Name the folder that `hf-llc scan` or "
        "`hf-llc estimate` printed as run_dir."
    )


def _read(path: Path) -> Curve:
    try:
        stored = json.loads(path.read_bytes())
        # Parts of a run stand beside their checksum.
        stored = stored.get("payload", stored) if isinstance(stored, dict) else stored
        if stored["schema"] != SCHEMA:
            raise SourceError(f"{path} has schema {stored['schema']}; this version reads {SCHEMA}.")
        return Curve.from_dict(stored) if path.name == SCAN else Curve.of_estimate(Estimate.from_dict(stored))
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is not a run of hf-llc, or is damaged ({error}); run the command again.") from error
