"""What scans of one series have in common: its checkpoints, where they are, and the items of the loss."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hf_llc.checkpoints.adapter import with_base, without_base
from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.checkpoints.resolve import FindModel, base_finder, find_model, series_id
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import HfLlcError, SettingsError, SourceError, UnusableError, listed
from hf_llc.execution import planning
from hf_llc.results.progress import Observer
from hf_llc.scans.prefetch import cached, default_branch, lists_tokenizer, size_of, source_of, without_weights
from hf_llc.scans.request import Request
from hf_llc.tasks import TASKS
from hf_llc.tasks.choose import find_items, task_of
from hf_llc.tasks.text.tokenizer import load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Series:
    """What a scan is about: checkpoints, the sources of those that can be read, and why the others cannot."""

    model: str
    checkpoints: Sequence[Checkpoint]
    sources: dict[str, ModelSource] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def apart(self) -> "Series":
        """This series, with reasons of its own why a checkpoint cannot be used."""
        return replace(self, errors=dict(self.errors))


@dataclass(frozen=True, kw_only=True)
class ScanSubject:
    """A series whose text is on this disk, and those of its checkpoints that this part of a scan answers for.

    Attributes:
        own: their names. last: the last one of which all but the weights can be read.
        corpus: the items of the loss. probe: those whose losses are recorded, where others are asked for.
    """

    series: Series
    own: Sequence[str]
    last: ModelSource
    corpus: Corpus
    probe: Corpus | None


def find_subject(request: Request, observer: Observer) -> ScanSubject | None:
    """The series and the text that a scan is about; None if its part of it is empty.

    Raises:
        HfLlcError: no checkpoint can be used, or the text cannot be read.
    """
    checkpoints, shard = request.checkpoints(observer.tell), request.shard
    own = shard.own(checkpoints)
    if not own:
        observer.tell(f"Part {shard.index}/{shard.count} has nothing to do: there are fewer checkpoints than parts.")
        return None
    if request.own is not None:
        sources = {each.name: request.own.sources[each.name] for each in checkpoints if each.duplicate_of is None}
        return ScanSubject(
            series=Series(model=request.model, checkpoints=checkpoints, sources=sources),
            own=own,
            last=list(sources.values())[-1],
            corpus=request.own.corpus,
            probe=None,
        )
    series = Series(model=series_id(request.model), checkpoints=checkpoints)
    with observer.part("loading"):
        _find_sources(series, request.max_disk, observer)
        known = list(series.sources.values())
        last = _with_config(known, observer)
        by_tokenizer = TASKS[task_of(last, request.data.task)].needs_tokenizer(request.data)
        tokenizer = _with_tokenizer(series.model, known, observer) if by_tokenizer else None
        # A checkpoint whose config is not here yet runs the code that the last one does.
        series.sources.update(
            {name: replace(each, code=each.code or last.code) for name, each in series.sources.items()}
        )
    with observer.part("data"):
        corpus = find_items(request.data, last, tokenizer=tokenizer, tell=observer.tell)
        probe = planning.find_probe(
            request.data, corpus, request.sampler, last, tokenizer=tokenizer, observer=observer
        )  # fmt: skip
    return ScanSubject(series=series, own=own, last=last, corpus=corpus, probe=probe)


def _find_sources(series: Series, max_disk: int | None, observer: Observer) -> None:
    """Note where each checkpoint is, or why it cannot be read; copies of another one are left to that one.

    Raises:
        HfLlcError: none of the checkpoints can be read.
    """
    failed: HfLlcError = UnusableError(f"None of the chosen checkpoints of {series.model} has weights.")
    find_base = base_finder(True, observer.tell)
    observer.begin("looking at checkpoints", len(series.checkpoints))
    for index, each in enumerate(series.checkpoints):
        if each.problem is not None:
            series.errors[each.name] = each.problem
        elif each.duplicate_of is None:
            try:
                source = _source(each, max_disk, find_base, observer)
            except (SourceError, UnusableError) as error:
                series.errors[each.name], failed = str(error), error
            else:
                series.sources[each.name] = source
        observer.advance(index + 1)
    observer.end()
    if not series.sources:
        raise failed
    _refuse_mixture(series)
    bases = {each.base.id for each in series.sources.values() if each.base is not None and not each.base.is_local}
    if bases and max_disk is not None:
        observer.tell(f"`max_disk` does not count {listed(sorted(bases))}, which stays in the Hub's cache.")


def _refuse_mixture(series: Series) -> None:
    """Raise SettingsError if some checkpoints are adapters and others whole models."""
    kinds: dict[bool, list[str]] = {}
    for name, source in series.sources.items():
        kinds.setdefault(source.adapter, []).append(name)
    if len(kinds) > 1:
        raise SettingsError(
            f"The chosen checkpoints of {series.model} are adapters ({listed(kinds[True])}) and whole models "
            f"({listed(kinds[False])}), whose λ̂ count different weights; choose one kind with `revisions`."
        )


def _source(checkpoint: Checkpoint, max_disk: int | None, find_base: FindModel, observer: Observer) -> ModelSource:
    asked = checkpoint.model
    if checkpoint.sha is None:
        return replace(find_model(asked, tell=observer.tell, find_base=find_base), step=checkpoint.step)
    source = source_of(checkpoint)
    if source.adapter:
        described = with_base(without_weights(source, observer.tell), asked.base_model, find_base)
        source = replace(source, base=described.base)
    else:
        without_base(asked)
    if max_disk is not None and cached(source, observer.tell) is None:
        size = size_of(source, observer.tell)
        if size > max_disk:
            raise UnusableError(
                f"{checkpoint.name} takes {size / 1000000000.0:.3g} GB, more than `max_disk` = "
                f"{max_disk / 1000000000.0:.3g} GB; raise it."
            )
    return source


def _with_config(sources: Sequence[ModelSource], observer: Observer) -> ModelSource:
    """The last checkpoint of which all but the weights can be read, downloaded.

    Raises:
        SourceError: none can.
    """
    for source in reversed(sources):
        try:
            return source if source.path else without_weights(source, observer.tell)
        except SourceError as error:
            failed = error
    raise failed


def _with_tokenizer(model: str, sources: Sequence[ModelSource], observer: Observer) -> ModelSource:
    """The last checkpoint that has a tokenizer, else the default branch: some series leave it out of the others.

    Raises:
        UnusableError, SourceError: none has one that can be read.
    """
    failed: HfLlcError = UnusableError(f"None of the chosen checkpoints of {model} has a tokenizer.")
    for source in reversed(sources):
        try:
            own = source.path is not None or source.base is not None or lists_tokenizer(source, observer.tell)
            if not own:
                continue
            branch = source if source.path else without_weights(source, observer.tell)
            load_tokenizer(branch)
        except (UnusableError, SourceError) as error:
            failed = error
        else:
            return branch
    if sources[-1].is_local:
        raise failed
    try:
        branch = default_branch(model, observer.tell)
        load_tokenizer(branch)
    except (UnusableError, SourceError) as error:
        raise failed from error
    observer.tell(f"The tokenizer is that of {model} at {branch.revision}; the chosen checkpoints have none.")
    return branch
