"""Where estimates run: in this process, in several that this one starts, or as one rank of a user's own launch."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hf_llc.errors import LaunchError
from hf_llc.execution import devices, machine
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.distributed.launcher import launch
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.plan import Plan
from hf_llc.execution.process_count import processes_for
from hf_llc.measures import measure_parts
from hf_llc.measures.llc import estimation
from hf_llc.measures.llc.calibration import calibrate as calibration
from hf_llc.measures.llc.calibration.calibrate import Findings
from hf_llc.measures.llc.draws.amounts import FIRST_LOSSES, first_amount
from hf_llc.measures.schedule import is_over, run_plans
from hf_llc.results.estimate import Estimate
from hf_llc.results.profile import Profile
from hf_llc.results.progress import Observer
from hf_llc.settings.files import write_atomically

WORKER = ("hf_llc.cli", "worker")
PROFILE = "profile-{}.json"
LOOK = 0.5
"""Seconds between looks at what other processes have settled."""
CALIBRATION = 20
"""A calibration's pilot chains together are about as long as those of that many estimates with a pilot's draws."""
COPIES = 4
"""Weights, gradients, anchor and working space, each as large as the float32 weights."""
WORTH_STARTING = 3e11
"""Multiply-adds of sampling, half a minute on one core, below which starting more CPU processes saves little."""


def execute(
    make_plan: Callable[[], Plan],
    *,
    processes: int | None,
    device: str | None,
    observer: Observer,
    devices_per_chain: int = 1,
) -> Estimate | None:
    """The Estimate, on the process that prints; None on every other rank of a user's own launch.

    Args:
        processes: how many to start; None takes the GPUs there are, or on a CPU as many chains as cores and memory
            allow where that is worth their start. Ignored under a launcher, whose number counts.
        devices_per_chain: as in the plan's settings; a launcher's process has to know it before there is a plan.

    Raises:
        HfLlcError: see `planning.plan`, `launcher.launch` and `world.join_launch`.
    """
    started = time.monotonic()
    if fleets.launched():
        return _as_rank(make_plan, device, observer, started, devices_per_chain)
    plan = make_plan()
    run_all([plan], processes=processes, observer=observer)
    with observer.part("results"):
        return estimation.collect(plan, observer, started)


def execute_all(
    make_plans: Callable[[MachineStore | None], tuple[list[Plan], Path]],
    *,
    processes: int | None,
    device: str | None,
    observer: Observer,
) -> tuple[list[Plan], Path] | None:
    """Plans of which every part is made and their folder, on the process that prints; None on other ranks.

    Args:
        make_plans: the plans and their folder; given the link to other machines that make the same, if there are any.
        processes: as in `execute`.

    Raises:
        HfLlcError: see `execute`.
    """
    if not fleets.launched():
        plans, folder = make_plans(None)
        run_all(plans, processes=processes, observer=observer)
        return plans, folder
    fleet = fleets.join_launch(devices.device_kind(device))
    with fleet.together():
        plans, folder = fleet.on_each_machine(
            lambda: make_plans(fleet.link), lambda prepared: {plan.run_dir.name: plan.inputs() for plan in prepared[0]}
        )
        run_plans(plans, fleet, tethered(fleet, observer), check=fleet.check)
        fleet.wait()
    return (plans, folder) if fleet.is_main else None


def run_all(
    plans: Sequence[Plan],
    *,
    processes: int | None,
    observer: Observer,
    keep_going: bool = False,
    availability: CheckpointAvailability | None = None,
    on_settled: Callable[[Plan], None] = lambda plan: None,
) -> None:
    """Makes every missing part of every plan, in this process or in as many as `processes` says.

    Args:
        keep_going, availability: as in `schedule.run_plans`.
        on_settled: told of each plan once it is finished or failed, one at a time.
    """
    count = _processes(plans, processes)
    if count > 1 and not all(measure_parts.is_finished(plan) for plan in plans):
        with _watched(plans, on_settled):
            _start_workers(plans, count, observer, keep_going=keep_going, availability=availability)
        return
    run_plans(
        plans,
        fleets.single_process(plans[0].device),
        observer,
        keep_going=keep_going,
        availability=availability,
        on_settled=on_settled,
    )


def run_pilots(
    make_plan: Callable[[], Plan],
    *,
    processes: int | None,
    device: str | None,
    observer: Observer,
    devices_per_chain: int = 1,
) -> tuple[Plan, Findings] | None:
    """The plan of a calibration and what its pilot chains showed, on the process that prints; None on other ranks.

    Args:
        processes, devices_per_chain: as in `execute`.

    Raises:
        HfLlcError: see `calibrate.run`, `launcher.launch` and `world.join_launch`.
    """
    if fleets.launched():
        fleet = fleets.join_launch(devices.device_kind(device), devices_per_chain)
        with fleet.together():
            plan = fleet.on_each_machine(make_plan, Plan.inputs)
            findings = calibration.run(plan, fleet, tethered(fleet, observer))
            fleet.wait()
        return (plan, findings) if fleet.is_main else None
    plan = make_plan()
    count = _processes([plan] * CALIBRATION, processes)
    if count == 1 or calibration.is_finished(plan):
        return plan, calibration.run(plan, fleets.single_process(plan.device), observer)
    _start_workers([plan], count, observer, calibrate=True)
    # The workers have told already what there is to tell.
    return plan, calibration.run(plan, fleets.single_process(plan.device), Observer())


def _start_workers(
    plans: Sequence[Plan],
    count: int,
    observer: Observer,
    *,
    keep_going: bool = False,
    availability: CheckpointAvailability | None = None,
    calibrate: bool = False,
) -> None:
    path = (availability.folder if availability else plans[0].run_dir) / "plans.json"
    listed = {
        "plans": [plan.to_dict() for plan in plans],
        "keep_going": keep_going,
        "arrivals": str(availability.folder) if availability else None,
        "calibrate": calibrate,
        "profile": observer.profile is not None,
        "silent": type(observer) is Observer,
        "launcher": os.getpid(),
    }
    write_atomically(path, json.dumps(listed).encode())
    module, command = WORKER
    profiles = [path.with_name(PROFILE.format(rank)) for rank in range(count)]
    for each in profiles:
        each.unlink(missing_ok=True)

    def told() -> list[dict[str, float]]:
        return [json.loads(each.read_bytes()) for each in profiles if each.is_file()]

    with observer.profile.handed_over(count, told) if observer.profile else nullcontext():
        launch(module, [command, str(path)], processes=count, device=plans[0].device, threads=plans[0].threads)


def is_silent(path: Path) -> bool:
    """Whether the process that wrote the plan file prints nothing, so that a rank prints nothing either."""
    return path.is_file() and bool(json.loads(path.read_bytes()).get("silent"))


def work(path: Path, observer: Observer) -> None:
    """One rank's share of the plans listed at `path`; ends early if the process that started it has gone."""
    listed = json.loads(path.read_bytes())
    profile = Profile() if listed["profile"] else None
    plans = [Plan.from_dict(stored) for stored in listed["plans"]]
    with ending_with(listed["launcher"]):
        fleet = fleets.join_launch(plans[0].device, plans[0].sampler.devices_per_chain)
    with fleet.together():
        _work(path, listed, plans, fleet, profile, observer)


@contextmanager
def ending_with(launcher: int) -> Iterator[None]:
    """Ends this process if that one ends while the block runs, which may wait for minutes in a library to join it."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            if not machine.is_running(launcher):
                os._exit(LaunchError.exit_code)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _work(
    path: Path,
    listed: Mapping[str, Any],
    plans: Sequence[Plan],
    fleet: ProcessWorld,
    profile: Profile | None,
    observer: Observer,
) -> None:
    check = _parent_check(listed["launcher"])
    own = Tethered(observer if fleet.is_main else Observer(), check)
    own.profile = profile
    if listed["calibrate"]:
        calibration.run(plans[0], fleet, own)
        return
    run_plans(
        plans,
        fleet,
        own,
        keep_going=listed["keep_going"],
        availability=CheckpointAvailability(Path(listed["arrivals"])) if listed["arrivals"] else None,
        check=check,
    )
    if profile is not None:
        write_atomically(path.with_name(PROFILE.format(fleet.rank)), json.dumps(profile.to_dict()).encode())


@contextmanager
def _watched(plans: Sequence[Plan], on_settled: Callable[[Plan], None]) -> Iterator[None]:
    """Tells of plans as other processes settle them, while the block runs; at its end, of the rest."""
    pending, over = list(plans), threading.Event()

    def look() -> None:
        for plan in list(pending):
            if is_over(plan):
                on_settled(plan)
                pending.remove(plan)

    def watch() -> None:
        while not over.wait(LOOK):
            look()

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield
        finally:
            over.set()
        watching.result()
    look()


class Tethered(Observer):
    """Passes events on, and looks now and then whether this process's work is still wanted.

    Args:
        check: raises if it is not.
    """

    def __init__(self, observer: Observer, check: Callable[[], None]) -> None:
        self._observer, self._check, self.profile = observer, check, observer.profile

    def tell(self, message: str) -> None:
        self._observer.tell(message)

    def begin(self, phase: str, total: int) -> None:
        self._observer.begin(phase, total)

    def advance(self, done: int) -> None:
        self._check()
        self._observer.advance(done)

    def chain(self, name: str, step: int, loss: float, llc: float) -> None:
        self._check()
        self._observer.chain(name, step, loss, llc)

    def end(self) -> None:
        self._observer.end()


def tethered(fleet: ProcessWorld, observer: Observer) -> Observer:
    """The observer on the process that prints, another one on the others; both end a chain that has become useless."""
    return Tethered(observer if fleet.is_main else Observer(), fleet.check)


def _parent_check(launcher: int) -> Callable[[], None]:
    """A check that raises LaunchError once the process that started this one was killed.

    Args:
        launcher: its process id. It may have been killed while this process still started, which then has another
            parent from the beginning.
    """
    parent = os.getppid()

    def check() -> None:
        if not (machine.parent_is_alive(parent) and machine.is_running(launcher)):
            raise LaunchError("The process that started this one has ended.")

    return check


def _processes(plans: Sequence[Plan], asked: int | None) -> int:
    """Processes to start."""
    if plans[0].sampler.devices_per_chain > 1:
        return processes_for(plans, asked)
    return asked if asked is not None else default_processes(plans)


def default_processes(plans: Sequence[Plan]) -> int:
    """Processes to start when the user left it open; never more than chains of all plans."""
    plan = plans[0]
    by_draws = plan.sampler.by_draws or plan.sampler.tries_draws
    most = FIRST_LOSSES * len(plans) if by_draws else plan.sampler.chain_count * len(plans)
    if plan.device != "cpu":
        return min(devices.device_count(plan.device), most)
    parameters = plan.source.all_weight_bytes / 4
    steps = plan.sampler.chain_draws * plan.sampler.thin * plan.sampler.chain_count * len(plans)
    work_to_do = 3 * parameters * steps * plan.sampler.chain_batch_size * plan.corpus.context_length
    if by_draws:
        draws = plan.of_draws()
        losses = first_amount(draws).cost * len(plans) * draws.batch_size
        work_to_do = parameters * losses * plan.corpus.context_length
    if work_to_do < WORTH_STARTING:
        return 1
    # Published weights are often 16 bits wide and become 32 here, hence the factor of two.
    fitting = int(machine.free_memory() / 2 / (2 * COPIES * max(plan.source.all_weight_bytes, 1)))
    return max(1, min(most, machine.cores() // plan.threads, fitting))


def _as_rank(
    make_plan: Callable[[], Plan], device: str | None, observer: Observer, started: float, devices_per_chain: int
) -> Estimate | None:
    fleet = fleets.join_launch(devices.device_kind(device), devices_per_chain)
    with fleet.together():
        plan = fleet.on_each_machine(make_plan, Plan.inputs)
        estimation.run(plan, fleet, tethered(fleet, observer))
        fleet.wait()
        with observer.part("results"):
            return estimation.collect(plan, observer, started) if fleet.is_main else None
