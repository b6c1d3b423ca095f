"""`LLCCallback`: λ̂ while a `transformers.Trainer` trains, which goes on as if nothing had been estimated."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from accelerate.state import PartialState
from accelerate.utils.other import extract_model_from_parallel
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from hf_llc.checkpoints.loading.random_numbers import seeded
from hf_llc.errors import HfLlcError, NotFoundError, SettingsError, SourceError
from hf_llc.measures.llc.estimate import estimate
from hf_llc.report.export import curve_of, draw, keep
from hf_llc.report.load import SCAN, load_run
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Estimate
from hf_llc.settings.bounds import Bounds, checked
from hf_llc.settings.data import MAX_DEFAULT_CONTEXT, DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.overrides import requested
from hf_llc.tasks.adapter_in_memory import is_adapter
from hf_llc.tasks.in_memory import content_hash, data_settings, save_model
from hf_llc.tasks.text import tokenized_rows

FOLDER = "llc"
"""Under the Trainer's `output_dir`, unless another folder is given."""
LOGGER = logging.get_logger("transformers.hf_llc")


class LLCCallback(TrainerCallback):
    """Estimates λ̂ every so many steps of a Trainer's training, and keeps the curve.

    Training is not changed: the same weights, optimizer state and random numbers come out. An estimate uses a copy of
    the weights on the Trainer's device, so that there must be room for a second model. One that fails becomes a point
    without a number, with a warning; training goes on. `hf_llc.load(folder)`, `hf-llc publish folder` and `hf-llc
    compare` read the folder as that of a scan.

    Under `accelerate launch` the main process estimates while the others wait.

    Args:
        trainer: whose trackers are to receive `llc` and `llc_stderr` (`report_to`), and whose evaluation data is the
            default for `data`. Without it the numbers are in the Trainer's log history and in the folder.
        data: the text of the loss, as in `hf_llc.estimate`; None takes the trainer's evaluation data, or its training
            data if it has none. Tokenized rows are joined where their lengths differ;
            those with labels of -100, or with TRL's masks, are sequences by themselves of which the others count.
        every: steps from one estimate to the next; there is one at the last planned step too.
        output_dir: the folder of the curve; None means `llc` in the Trainer's `output_dir`.
        settings: single settings by name, as in `hf_llc.estimate`. λ̂ is comparable at one γ only: if `gamma` is not
            given, it is measured at the first estimate and kept.

    Attributes:
        curve: the points so far; None before the first one.

    Raises:
        SettingsError: a setting makes no sense, or there is no such setting, or neither `trainer` nor `data` is given.
    """

    def __init__(
        self,
        trainer: Any = None,
        data: Any = None,
        *,
        every: int,
        output_dir: str | Path | None = None,
        **settings: Any,
    ) -> None:
        self.every = checked("every", every, Annotated[int, Bounds(low=1)])
        requested(DataSettings(), None, None, settings, "LLCCallback")
        if trainer is None and data is None:
            raise SettingsError(
                "LLCCallback needs the Trainer or data, since a callback is not told which data the Trainer evaluates: "
                "trainer.add_callback(LLCCallback(trainer, every=…)), or give data=…."
            )
        self.curve: Curve | None = None
        self._trainer, self._data, self._settings = trainer, data, dict(settings)
        self._text: DataSettings | None = None
        self._folder = None if output_dir is None else Path(output_dir)
        self._points: list[Point] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the curve of a training that is resumed, and begin a new one otherwise.

        Raises:
            SettingsError: the model is spread over devices, so that no process has its weights, or is no model of
                transformers or peft.
        """
        if getattr(args, "fsdp", None) or getattr(args, "deepspeed", None):
            raise SettingsError(
                "LLCCallback cannot estimate a model whose weights FSDP or DeepSpeed spread over devices; run hf-llc "
                f"scan {args.output_dir} on the saved checkpoints instead."
            )
        model = extract_model_from_parallel(kwargs["model"])
        if not isinstance(model, PreTrainedModel) and not is_adapter(model):
            raise SettingsError(
                f"LLCCallback estimates models of transformers and peft, and this is a {type(model).__name__}: train "
                "without the callback."
            )
        self._points, self._text = [], None
        if state.global_step:
            self._points = [point for point in self._stored(args) if (point.step or 0) <= state.global_step]

    def _stored(self, args: TrainingArguments) -> Sequence[Point]:
        """The points of the training that is resumed; a file that cannot be read is set aside."""
        try:
            return load_run(self._place(args)).points
        except NotFoundError:
            return []
        except SourceError as error:
            aside = self._place(args) / f"{SCAN}.damaged"
            with suppress(OSError):
                (self._place(args) / SCAN).replace(aside)
            LOGGER.warning(f"{error} It is now {aside}, and a new curve begins.")
            return []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Estimate if this is a step at which to."""
        # Not at the end of training: by then the Trainer may have loaded the best checkpoint.
        if state.global_step % self.every == 0 or state.global_step >= state.max_steps:
            self._at(args, state, control, kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw the curve."""
        if state.is_world_process_zero and self.curve is not None:
            draw(self.curve, self._place(args))

    def _at(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, arguments: dict[str, Any]
    ) -> None:
        step = state.global_step
        if state.is_world_process_zero and step not in {point.step for point in self._points}:
            with seeded(0), _kept_on(arguments["model"]):
                point = self._point(args, step, arguments)
            self._points.append(point)
            self._write(args)
            self._log(point, state, control)
        PartialState().wait_for_everyone()

    def _point(self, args: TrainingArguments, step: int, arguments: dict[str, Any]) -> Point:
        name, started = f"checkpoint-{step}", time.monotonic()
        try:
            result = self._estimate(args, name, arguments)
        except (HfLlcError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, OSError) as error:
            # Hours of training are worth more than an estimate.
            reason = str(error) if isinstance(error, HfLlcError) else f"{type(error).__name__}: {error}"
            LOGGER.warning(f"No LLC at step {step}: {reason}")
            return Point(revision=name, step=step, error=reason)
        LOGGER.info(f"LLC at step {step} in {time.monotonic() - started:.0f} s: {result}")
        if (earlier := self._of_another_loss(result)) is not None:
            LOGGER.warning(
                f"The points until step {step} are of another loss (γ {earlier.settings.gamma:g} and "
                f"{result.settings.gamma:g}, or other data or weights that move): they are left out of the curve."
            )
            self._points = []
        own = replace(result, model=str(args.output_dir), revision=name, step=step)
        return Point(revision=name, sha=own.sha, step=step, estimate=own)

    def _estimate(self, args: TrainingArguments, name: str, arguments: dict[str, Any]) -> Estimate:
        model, tokenizer = extract_model_from_parallel(arguments["model"]), arguments.get("processing_class")
        place = self._place(args)
        data = self._text_of(model, tokenizer)
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".weights-") as folder:
            save_model(model, tokenizer, Path(folder))
            return estimate(
                ModelSettings(model=folder, trust_remote_code=bool(getattr(model.config, "auto_map", None))),
                data,
                # Another training in the same folder has other weights at that step.
                output_dir=place / "points" / f"{name}-{content_hash(Path(folder))[:12]}",
                device=model.device.type,
                **{**self._gamma_of_first(), **self._settings},
            )

    def _of_another_loss(self, result: Estimate) -> Estimate | None:
        """An earlier number that this one cannot be compared with; None if there is none."""
        for point in self._points:
            if (earlier := point.estimate) is not None:
                names = ("gamma", "n_beta", "n", "context_length", "params", "component")
                same = all(getattr(earlier.settings, name) == getattr(result.settings, name) for name in names)
                if not same or earlier.dataset.fingerprint != result.dataset.fingerprint:
                    return earlier
        return None

    def _gamma_of_first(self) -> dict[str, Any]:
        """γ of the first estimate, for those that follow it."""
        numbers = [point.estimate for point in self._points if point.estimate is not None]
        return {"gamma": numbers[0].settings.gamma} if numbers else {}

    def _text_of(self, model: Any, tokenizer: Any) -> DataSettings:
        """The data of the loss, on this disk; the same at every step of a training."""
        if self._text is not None:
            return self._text
        rows = self._data
        if rows is None:
            rows = self._trainer.eval_dataset if self._trainer.eval_dataset is not None else self._trainer.train_dataset
            if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")):
                raise SettingsError(
                    f"The Trainer's data is a {type(rows).__name__} without a length, and reading it here would take "
                    "rows from the training: give the callback data=…."
                )
        if isinstance(rows, dict):
            raise SettingsError(f"data must be one dataset, got several ({', '.join(map(str, rows))}): give data=….")
        if not isinstance(rows, str | Path | DataSettings) and tokenized_rows.are_tokenized(rows):
            asked, _ = requested(DataSettings(), None, None, self._settings, "LLCCallback")
            longest = asked.context_length or min(
                MAX_DEFAULT_CONTEXT, getattr(model.config, "max_position_embeddings", None) or MAX_DEFAULT_CONTEXT
            )
            eos = getattr(tokenizer, "eos_token_id", None)
            eos = getattr(model.config, "eos_token_id", None) if eos is None else eos
            labelled = tokenized_rows.labelled(rows, longest, asked.max_sequences)
            if labelled is None:
                eos = eos[0] if isinstance(eos, list) else eos
                rows = tokenized_rows.packed(rows, eos, longest, asked.max_sequences)
            else:
                rows = labelled
        text = self._text = data_settings(rows)
        return text

    def _place(self, args: TrainingArguments) -> Path:
        return self._folder or Path(args.output_dir or ".") / FOLDER

    def _write(self, args: TrainingArguments) -> None:
        self._points.sort(key=lambda point: point.step or 0)
        self.curve = curve_of(str(args.output_dir), self._points, self._place(args).resolve())
        with suppress(OSError):
            keep(self.curve, self._place(args))

    def _log(self, point: Point, state: TrainerState, control: TrainerControl) -> None:
        if point.llc is None or point.stderr is None:
            return
        values = {"llc": point.llc, "llc_stderr": point.stderr}
        if self._trainer is None:
            epoch = {} if state.epoch is None else {"epoch": state.epoch}
            state.log_history.append({**values, **epoch, "step": state.global_step})
            return
        # Logging clears the request to log the loss of this step.
        should_log = control.should_log
        self._trainer.log(values)
        control.should_log = should_log


@contextmanager
def _kept_on(model: torch.nn.Module) -> Iterator[None]:
    """Free what the estimate left on a GPU: the next training step needs the room."""
    try:
        yield
    finally:
        if any(parameter.is_cuda for parameter in model.parameters()):
            torch.cuda.empty_cache()
