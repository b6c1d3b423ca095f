"""The parts of a run of chains: what they are called, and how they are made."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hf_llc.execution import work_queue
from hf_llc.execution.chain_runner import ChainRunner, ChainSpec
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.recording import recordings_of
from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import Steps
from hf_llc.measures.llc import sgld_check
from hf_llc.measures.llc.cross_check import cross_check, part_name
from hf_llc.measures.llc.recording import Posterior, made_anchors, missing_of_chains, recorded_chain
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.sensitivity import sensitivity_chains
from hf_llc.results.progress import Observer
from hf_llc.sampling.variations import Variation

OPEN = "open/"
"""Where the parts are kept of chains that were made as long as it took: others of the run have the length asked for."""


class Names(NamedTuple):
    """Names of the parts of so many chains of so many draws."""

    plan: Plan
    chains: int
    draws: int

    @property
    def _folder(self) -> str:
        return folder_of(self.plan)

    @property
    def main(self) -> list[str]:
        """Of the chains themselves."""
        return [f"{self._folder}chains/{chain:03d}" for chain in range(self.chains)]

    @property
    def checks(self) -> dict[str, tuple[Variation, int]]:
        """Of those that vary them, with what each varies."""
        if not self.plan.sampler.checks:
            return {}
        pairs = sensitivity_chains(self.chains, self.draws)
        return {f"{self._folder}checks/{variation.name}-{chain:03d}": (variation, chain) for variation, chain in pairs}

    @property
    def work(self) -> dict[str, tuple[Variation | None, int]]:
        """Of all of them."""
        return {**{name: (None, chain) for chain, name in enumerate(self.main)}, **self.checks}


def folder_of(plan: Plan) -> str:
    """Where in the run the parts are that depend on the length of chains."""
    return OPEN if plan.sampler.grows and plan.sampler.draws is None else ""


def resolved_name(plan: Plan) -> str:
    """Of the part that holds the settings."""
    return f"{folder_of(plan)}resolved"


def cross_check_names(plan: Plan) -> list[str]:
    """Of what checks the number by another way."""
    method = plan.sampler.cross_check
    return [part_name(method)] if method not in {None, sgld_check.METHOD} else []


class Maker:
    """Makes the parts of chains with these settings, on one process's loaded model."""

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        bench: LoadedModel,
        anchors: Sequence[float],
        resolution: ResolvedRun,
        fleet: ProcessWorld,
        observer: Observer,
    ) -> None:
        self._plan, self._store, self._bench, self._anchors = plan, store, bench, anchors
        self._resolution, self._fleet, self._observer = resolution, fleet, observer

    def jobs(self, names: Names) -> dict[str, ChainSpec]:
        """The chains of these parts."""
        main = self._resolution.settings
        return {
            name: ChainSpec(varied.settings(main) if varied else main, chain, varied, name.rpartition("/")[2])
            for name, (varied, chain) in names.work.items()
        }

    def make(self, jobs: Mapping[str, ChainSpec], others: Sequence[str] = ()) -> Steps[None]:
        """Makes what is missing of these chains, and of what checks them by another way."""
        observer, main = self._observer, self._resolution.settings
        prefix, posterior = folder_of(self._plan), Posterior(n_beta=main.n_beta, gamma=main.gamma)
        yield from made_anchors(self._plan, self._store, self._bench, posterior, observer, prefix)
        recordings = recordings_of(self._plan, prefix)
        observer.begin("sampling", sum(job.settings.steps for job in jobs.values()))
        chains = ChainRunner(jobs, self._bench, self._anchors, observer)

        def make(name: str) -> Mapping[str, Any]:
            if name in jobs and jobs[name].variation is None and recordings:
                payload, parts = recorded_chain(name, chains, jobs[name].chain, recordings, self._store, self._bench)
                for part, recorded in parts.items():
                    self._store.write(part, recorded)
                return payload
            if name not in others:
                return chains(name)
            with observer.part("measuring"):
                return cross_check(name.partition("/")[2], self._bench, self._resolution, observer)

        yield from work_queue.make_parts(
            self._store,
            [*jobs, *others],
            make,
            first=self._fleet.share,
            on_parts=lambda done: observer.advance(sum(jobs[name].settings.steps for name in done if name in jobs)),
            last=not recordings,
        )
        observer.end()

    def recorded(self, names: Names) -> Steps[None]:
        """Makes the recordings that are missing of these chains, which are there."""
        main = {name: chain for chain, name in enumerate(names.main)}
        jobs = self.jobs(names)
        chains = ChainRunner({name: jobs[name] for name in main}, self._bench, self._anchors, self._observer)
        yield from missing_of_chains(
            self._plan, self._store, self._bench, chains, main, folder_of(self._plan), self._fleet, self._observer
        )
