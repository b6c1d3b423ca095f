"""Progress of one process that takes turns at several plans: a person sees one of them at a time."""

from hf_llc.results.progress import Observer


class SharedProgress:
    """What a person sees: one phase of one plan, however many plans this process takes turns at."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.front: PlanProgress | None = None


class PlanProgress(Observer):
    """Passes on the events of one plan; the plan whose event came last is the one that is seen."""

    def __init__(self, stage: SharedProgress) -> None:
        self._stage, self.profile = stage, stage.observer.profile
        self._phase: tuple[str, int] | None = None
        self._done = 0

    def tell(self, message: str) -> None:
        self._stage.observer.tell(message)

    def begin(self, phase: str, total: int) -> None:
        self._phase, self._done = (phase, total), 0
        self._step_forward(again=True)

    def advance(self, done: int) -> None:
        self._done = done
        self._step_forward()
        self._stage.observer.advance(done)

    def chain(self, name: str, step: int, loss: float, llc: float) -> None:
        self._step_forward()
        self._stage.observer.chain(name, step, loss, llc)

    def end(self) -> None:
        self._phase = None
        if self._stage.front is self:
            self._stage.front = None
            self._stage.observer.end()

    def _step_forward(self, again: bool = False) -> None:
        if self._phase is None or (self._stage.front is self and not again):
            return
        if self._stage.front is not None:
            self._stage.observer.end()
        self._stage.front = self
        self._stage.observer.begin(*self._phase)
        self._stage.observer.advance(self._done)
