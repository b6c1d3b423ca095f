"""`--dry-run` of several components: what each of them would take, and all of them in one call."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hf_llc.errors import counted
from hf_llc.results.progress import duration

from .estimate_table import forecast_rows
from .output import Form, write_agent, write_json, write_line, write_pairs, write_table
from .progress import ProgressBar
from .revisions import listing, write_checkpoints

if TYPE_CHECKING:
    from hf_llc.measures.llc.forecast import ComponentForecasts
    from hf_llc.scans.request import Request
    from hf_llc.settings.data import DataSettings
    from hf_llc.settings.model import ModelSettings
    from hf_llc.settings.sampler import SamplerSettings

HEADERS = ("component", "weights that move", "time")


def forecast_estimates(
    model: "ModelSettings", data: "DataSettings", sampler: "SamplerSettings", device: str | None, form: Form
) -> None:
    """Of one checkpoint, on stdout."""
    from hf_llc.measures.llc.forecast import forecast_components

    with ProgressBar(quiet=form is Form.QUIET) as observer:
        expected = forecast_components(model, data, sampler, device=device, observer=observer)
    if form is Form.JSON:
        write_json(expected.to_dict())
    elif form is Form.AGENT:
        write_agent(expected.to_dict())
    else:
        _write(expected, form)


def forecast_scans(request: "Request", form: Form) -> None:
    """Of the checkpoints of a scan, which are listed first, on stdout."""
    from hf_llc.measures.llc.forecast import forecast_components
    from hf_llc.scans.shard import estimated

    with ProgressBar(quiet=form is Form.QUIET) as observer:
        checkpoints = listing(request.checkpoints(observer.tell), request.shard)
        names = set(estimated(checkpoints))
        own = [each for each in checkpoints if each.name in names]
        if not own:
            return write_checkpoints(request.model, checkpoints, form)
        last = own[-1].model
        expected = forecast_components(
            last, request.data, request.sampler, checkpoints=len(own), device=request.device, observer=observer
        )
    sizes = [each.size or 0 for each in own]
    missing = sum(size for size, each in zip(sizes, own, strict=True) if not each.cached)
    expected = replace(expected, total=replace(expected.total, weight_bytes=sum(sizes), download_bytes=missing))
    if form is Form.JSON:
        return write_json({**expected.to_dict(), "checkpoints": [each.to_dict() for each in checkpoints]})
    if form is Form.AGENT:
        return write_agent({**expected.to_dict(), "checkpoints": [each.name for each in checkpoints]})
    if form is Form.HUMAN:
        write_checkpoints(request.model, checkpoints, form)
        write_line()
    _write(expected, form)


def _write(expected: "ComponentForecasts", form: Form) -> None:
    total = expected.total
    if form is Form.QUIET:
        return write_line(f"{total.seconds:.0f}")
    at = f" at {counted(expected.checkpoints, 'checkpoint')}" if expected.checkpoints > 1 else ""
    rows = [(name, f"{each.moving:,}", duration(each.seconds)) for name, each in expected.components.items()]
    write_table(f"{counted(len(rows), 'component')}{at}: nothing was run", HEADERS, rows)
    write_line()
    write_pairs(f"All of them in one call, of {total.model}", forecast_rows(total))
