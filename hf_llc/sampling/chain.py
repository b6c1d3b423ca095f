"""The loop of one chain. It knows no algorithm and no model class: those are the sampler and the objective."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.results.estimate import ChainTrace, Status
from hf_llc.sampling import jumps, starts
from hf_llc.sampling.baseline import Correction, Linear
from hf_llc.sampling.chain_recorder import ChainRecorder
from hf_llc.sampling.estimator import batch_noise
from hf_llc.sampling.gradients import gradient_of
from hf_llc.sampling.objective import Objective, all_finite, clear_gradients, copy_of, restore, squared_distance
from hf_llc.sampling.randomness import ChainRandomness, Randomness
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.samplers.base import ChainState, GradientSample, Posterior
from hf_llc.sampling.timing import Part, TimedObjective, TimedRandomness, timed
from hf_llc.sampling.variations import Variation
from hf_llc.settings.resolved import ResolvedSettings

BLOCK = 16
"""Steps between looks at the device: often enough to stop a dead chain early, seldom enough not to stall it."""

Progress = Callable[[int, float, float], None]
"""Called with (steps done, mean minibatch loss of the block, mean paired difference of the draws so far)."""
AtDraw = Callable[[], None]
"""Called at every draw after the burn-in, with the objective's weights at w_t, which it must leave there."""


class DrawMeasurement(NamedTuple):
    """What was computed at a draw: the paired differences of items of its own where it has such, shape (m,), in nats
    per token, what corrects them, and the segment to the draw where that is looked at."""

    differences: Tensor | None = None
    corrected: Correction | None = None
    segment: jumps.Segment | None = None


def run_chain(
    objective: Objective,
    anchor_losses: Tensor,  # (n,) ℓ_i(w*), on the parameters' device
    settings: ResolvedSettings,
    chain: int,
    *,
    anchor_gradient: Sequence[Tensor] | None = None,
    variation: Variation | None = None,
    keep_noise: bool = True,
    progress: Progress | None = None,
    part: Part | None = None,
    at_draw: AtDraw | None = None,
) -> ChainTrace:
    """The trace of one chain around w*, the weights the objective holds now and, bit for bit, holds again afterwards.

    Each batch's loss at w* is subtracted from its loss at w_t: the paired baseline, whose variance is that of the
    difference alone. The chain stops at the first non-finite loss, distance or weight and says so in its status.

    Args:
        anchor_gradient: ∇L_n(w*), for `requested.gradient` control-variate and `requested.baseline` linear.
        settings: of this chain; a varied one's are `variation.settings(main)`.
        variation: what differs from the main chain of that number, whose random numbers it shares; None is the main
            chain itself.
        keep_noise: a sampler that takes a step's noise twice has it kept on a CPU, where drawing takes longer than
            reading, at the price of a copy of the weights (two for a refined chain). The numbers are the same.
        part: told of what each part of a step takes; None costs nothing.
        at_draw: records the draw.
    """
    anchors = copy_of(objective.parameters)
    if part is not None:
        objective = TimedObjective(objective, part)
    try:
        return _Chain(
            objective,
            anchors,
            anchor_losses,
            settings,
            chain,
            anchor_gradient=anchor_gradient,
            variation=variation,
            keep_noise=keep_noise,
            progress=progress,
            part=part,
            at_draw=at_draw,
        ).trace()
    finally:
        restore(objective.parameters, anchors)
        clear_gradients(objective.parameters)


class _Chain:
    """One chain from w*, which the objective's parameters are at now; arguments as in `run_chain`."""

    def __init__(
        self,
        objective: Objective,
        anchors: Sequence[Tensor],
        anchor_losses: Tensor,
        settings: ResolvedSettings,
        number: int,
        *,
        anchor_gradient: Sequence[Tensor] | None,
        variation: Variation | None,
        keep_noise: bool,
        progress: Progress | None,
        part: Part | None,
        at_draw: AtDraw | None,
    ) -> None:
        self._objective, self._at_draw = objective, at_draw
        self._anchor_losses, self._settings, self._number = anchor_losses, settings, number
        self._progress, self._part = progress, part
        self._looked_at = jumps.measured_draws(settings) if variation is None else frozenset()
        parameters = objective.parameters
        device, n = parameters[0].device, len(anchor_losses)
        kept = parameters if keep_noise and device.type == "cpu" and SAMPLERS[settings.sampler].neighbours else ()
        whole = ChainRandomness(
            settings.seed, number, n, settings.batch_size, device, settings.batches, keep=kept, shards=objective.shards
        )
        randomness: Randomness = variation.randomness(whole, settings) if variation else whole
        if part is not None:
            randomness = TimedRandomness(randomness, part)
        self._gradient = gradient_of(settings.gradient, objective, anchors, anchor_gradient)
        self._linear: Linear | None = None
        if settings.baseline == "linear":
            if anchor_gradient is None:
                raise ValueError("a linear baseline needs the full gradient at w*")
            self._linear = Linear(objective, anchors, anchor_losses, anchor_gradient)
        law = Posterior(settings.n_beta, settings.gamma, settings.lr, settings.momentum, settings.burn_in)
        self._walk = ChainState(parameters, anchors, law, randomness, self._gradient, objective.shards)

    def trace(self) -> ChainTrace:
        """The trace of the chain, which stops at the first non-finite loss, distance or weight."""
        settings, parameters = self._settings, self._walk.parameters
        self._start()
        recorder, failed_at = self._steps()
        if failed_at is None and not all_finite(parameters, self._walk.shards):
            failed_at = settings.steps
        return ChainTrace(
            chain=self._number,
            status=Status.HEALTHY if failed_at is None else Status.NONFINITE,
            failed_at=failed_at,
            losses=tuple(recorder.losses),
            deltas=tuple(recorder.deltas),
            squared_distances=tuple(recorder.squared_distances),
            seconds=0.0,
            paired=tuple(recorder.paired) if self._linear is not None else (),
            broken_slopes=recorder.broken_slopes,
            jumps=tuple(recorder.jumps),
            beside=tuple(recorder.beside),
            noise=tuple(recorder.noise),
        )

    def _start(self) -> None:
        walk, settings = self._walk, self._settings
        if not settings.starts_displaced(self._number):
            return
        if settings.start != "laplace":
            _displace(walk.parameters, walk.randomness, settings.gamma)
            return
        batch, noise = walk.randomness.first(), walk.randomness.start("weights")
        n_beta, gamma = settings.n_beta, settings.gamma
        starts.displace(self._objective, walk.anchors, batch, noise, n_beta=n_beta, gamma=gamma)

    def _steps(self) -> tuple[ChainRecorder, int | None]:
        walk, settings = self._walk, self._settings
        sampler = SAMPLERS[settings.sampler]
        state = sampler.init(walk)
        step = sampler.step if self._part is None else timed(sampler.step, self._part)
        recorder = ChainRecorder()
        for index in range(settings.steps + 1):
            last = index == settings.steps
            batch = walk.randomness.batch(index)
            drawn = index > settings.burn_in and (index - settings.burn_in) % settings.thin == 0
            seen = self._draw(index, batch, recorder) if drawn else None
            losses, slope = (self._objective.losses(batch), []) if last else self._gradient(batch)
            apart = None if seen is None else seen.differences
            differences = self._paired(losses, batch) if apart is None else apart
            delta = differences.mean()
            corrected = delta if seen is None else self._drawn(seen, differences, recorder)
            recorder.add(losses.mean(), corrected, delta)
            if last or (index + 1) % BLOCK == 0:
                failed_at = recorder.flush()
                if failed_at is not None:
                    return recorder, failed_at
                if self._progress is not None:
                    _report(self._progress, recorder, settings)
            if not last:
                at = walk._replace(law=walk.law._replace(lr=settings.lr_at(index)))
                step(at, GradientSample(batch, losses, slope), state, index)
                # Else the gradient would live until there is another one.
                del slope
        return recorder, None

    def _draw(self, index: int, batch: Tensor, recorder: ChainRecorder) -> DrawMeasurement:
        """What a draw computes beside the losses that come with its gradient, and before that takes its memory."""
        walk = self._walk
        recorder.add_distance(squared_distance(walk.parameters, walk.anchors, walk.shards))
        if self._at_draw is not None:
            self._at_draw()
        apart = walk.randomness.measured(index)
        items = batch if apart is None else apart
        looked_at = self._draw_number(index) in self._looked_at
        segment = self._segment(index, items) if looked_at else None
        corrected = self._linear(items) if self._linear is not None else None
        if apart is None:
            return DrawMeasurement(None, corrected, segment)
        return DrawMeasurement(self._paired(self._objective.losses(apart), apart), corrected, segment)

    def _draw_number(self, index: int) -> int:
        """From 1."""
        return (index - self._settings.burn_in) // self._settings.thin

    def _segment(self, index: int, items: Tensor) -> jumps.Segment:
        """How far the loss of these items rises from w* by its gradient alone, and that of others altogether."""
        walk, draw = self._walk, self._draw_number(index)
        clear_gradients(walk.parameters)
        others = jumps.other_items(self._settings, self._number, draw)
        losses = self._objective.losses(others)
        rule = jumps.nodes(self._settings.seed, self._number, draw)
        smooth = jumps.integral(self._objective, walk.anchors, items, rule)
        return jumps.Segment(smooth, self._paired(losses, others).mean())

    def _drawn(self, seen: DrawMeasurement, differences: Tensor, recorder: ChainRecorder) -> Tensor:
        """The mean difference that goes into the trace; what else the draw says goes there too."""
        delta = differences.mean()
        if seen.segment is not None:
            smooth, beside = seen.segment
            recorder.add_jump(delta.to(smooth.dtype) - smooth, beside)
        if seen.corrected is not None:
            corrected = seen.corrected(differences)
            recorder.add_broken(corrected.broken)
            delta, differences = corrected.delta, corrected.items
        noise = batch_noise(differences, self._settings.n)
        if noise is not None:
            recorder.add_noise(noise)
        return delta

    def _paired(self, losses: Tensor, batch: Tensor) -> Tensor:
        """Each item's loss minus that at w*, shape (m,)."""
        baseline = self._anchor_losses
        # Not waiting for the copy: on a GPU that would be waiting for all that was asked of it before.
        return losses - baseline[batch.to(baseline.device, non_blocking=True)]


@torch.no_grad()
def _displace(parameters: Sequence[Tensor], randomness: Randomness, gamma: float) -> None:
    """w ← w* + ξ/√γ: a draw from the localizing prior alone, where directions that only the prior bounds are
    stationary."""
    noise = randomness.start("weights")
    for parameter in parameters:
        noise.add_to(parameter, gamma**-0.5)


def _report(progress: Progress, recorder: ChainRecorder, settings: ResolvedSettings) -> None:
    draws = recorder.deltas[settings.burn_in + settings.thin :: settings.thin]
    recent = recorder.losses[-BLOCK:]
    progress(len(recorder.losses) - 1, sum(recent) / len(recent), sum(draws) / len(draws) if draws else math.nan)
