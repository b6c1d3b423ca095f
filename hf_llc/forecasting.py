"""What an estimate would cost, without downloading weights or sampling."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from hf_llc.adapters import devices
from hf_llc.adapters import fleet as fleets
from hf_llc.adapters.checkpoint import context_limit, parameter_count
from hf_llc.core.language import LOGIT_BUDGET
from hf_llc.core.samplers import check_sampler
from hf_llc.observer import Observer
from hf_llc.settings import IMPORTANCE, MAX_DEFAULT_CONTEXT, DataSettings, ModelSettings, SamplerSettings
from hf_llc.sources import find_model

BACKWARD_AND_FORWARD = 6
"""Floating-point operations per parameter and token of a forward and a backward pass (Kaplan et al. 2020)."""
ASSUMED_BURN_IN = 50
LIVE_LOGITS = 4
"""Tensors as large as the logits that live at once: logits, log-probabilities, their gradient, a copy."""
EFFICIENCY = 0.5
"""Share of a large matrix product's rate that a language model's step reaches, roughly."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The expected cost of an estimate; bytes, seconds and floating-point operations per second."""

    model: str
    sha: str
    parameters: int
    weight_bytes: int
    download_bytes: int
    memory_bytes: int
    chains: int
    steps: int
    burn_in: int
    tokens: int
    device: str
    rate: float
    seconds: float

    @property
    def operations(self) -> float:
        """Floating-point operations of all gradients."""
        return float(BACKWARD_AND_FORWARD * self.parameters * self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


def forecast(
    model: ModelSettings,
    data: DataSettings,
    sampler: SamplerSettings,
    *,
    device: str | None = None,
    observer: Observer | None = None,
) -> Forecast:
    """The cost of `estimate` with the same arguments, from the model's config and a short look at the machine.

    Raises:
        HfLlcError: the model cannot be had, or the settings are impossible.
    """
    observer = observer or Observer()
    check_sampler(sampler.sampler, [IMPORTANCE])
    source = find_model(model, download=False, tell=observer.tell)
    parameters = parameter_count(source)
    context = data.context_length or min(MAX_DEFAULT_CONTEXT, context_limit(source) or MAX_DEFAULT_CONTEXT)
    burn_in = ASSUMED_BURN_IN if sampler.burn_in is None else sampler.burn_in
    steps = burn_in + sampler.chain_draws * sampler.thin
    tokens = sampler.chains * (steps + 1) * sampler.chain_batch_size * context
    kind = devices.device_kind(device)
    rate = _matrix_rate(fleets.alone(kind).device, getattr(torch, sampler.dtype))
    return Forecast(
        model=source.id,
        sha=source.sha,
        parameters=parameters,
        weight_bytes=source.weight_bytes,
        download_bytes=source.download_bytes,
        memory_bytes=4 * (4 * parameters // sampler.devices_per_chain + LIVE_LOGITS * LOGIT_BUDGET),
        chains=sampler.chains,
        steps=steps,
        burn_in=burn_in,
        tokens=tokens,
        device=kind,
        rate=rate,
        seconds=BACKWARD_AND_FORWARD * parameters * tokens / (EFFICIENCY * rate),
    )


def _matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a matrix product on this device, from a tenth of a second."""
    size = 1024
    left = torch.ones(size, size, device=device, dtype=dtype)
    done, started = 0, time.monotonic()
    while time.monotonic() - started < 0.1:
        (left @ left).sum().item()
        done += 1
    return done * 2 * size**3 / (time.monotonic() - started)
