"""What is planned to start, placed and admitted together: one entry of the ledger a turn, then the engines are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fabrique.apps.catalogue import services as catalogue
from fabrique.apps.jobs import admission, cycle
from fabrique.apps.jobs.admission import Start
from fabrique.apps.jobs.cycle import Waiting
from fabrique.apps.jobs.models import Intent, Run
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission.filter import Offer
from fabrique.core.eligibility import Verdict
from fabrique.core.reasons import Reason, reason
from fabrique.engines.protocol import Engine
from fabrique.operate import act, ahead, decide
from fabrique.operate.books import Books
from fabrique.operate.engines import slots_of
from fabrique.operate.options import Asked

Planned = tuple[Asked, str, str, Reason]  # a job, its partition, its level ("": the top one), and why there


class Starting:
    """The starts of one turn, in the planned order. `runs` are those that live; what is placed here is added."""

    def __init__(
        self,
        here: ThisHub,
        engines: Mapping[str, Engine],
        runs: Sequence[Run],
        silent: Mapping[str, str],
        books: Books,
        now: int,
    ) -> None:
        self.here, self.engines, self.books, self.now = here, engines, books, now
        self._silent = silent
        self._bounds: list[Mapping[str, Any]] = [run.bound for run in runs]
        self._waits: list[Waiting] = []

    def admit(self, planned: Iterable[Planned], epoch: int, *, early: bool = False) -> list[Intent]:
        """What has to wait after all is told. `early`: ahead of its turn."""
        starts = [start for one in planned if (start := self._start(*one, early=early))]
        cycle.waits(self._waits, now=self.now)
        self._waits.clear()
        return admission.admit(starts, epoch, now=self.now)

    def _start(self, ask: Asked, partition: str, level: str, why: Reason, *, early: bool) -> Start | None:
        offers = [o for o in ask.offers if o.partition == partition]
        engine = offers[0].engine
        if engine in self._silent:
            return self._wait(ask, reason("wait.engine", engine=engine))
        if not self._lawful(ask):
            return None
        if self.here.deployment.cluster and not ask.job.door and act.account(self.here, ask.job) is None:
            return self._wait(ask, reason("wait.account", engine=engine))
        for offer in offers:
            bound = self._bound(offer, ask)
            if bound is not None:
                self._bounds.append(bound)
                bound |= {ahead.MARK: True} if early else {}
                chosen = next((one for one in offer.levels if one.name == level), None)
                return Start(ask.job, decide.place(self.here, ask, offer, bound, self.books, chosen), why)
        # enough in all, but not in one piece
        return self._wait(ask, reason("wait.accelerators", partition=partition, asked=ask.spec.milli_devices, free=0))

    def _wait(self, ask: Asked, why: Reason) -> Start | None:
        self._waits.append((ask.job, why, None))
        return None

    def _lawful(self, ask: Asked) -> bool:
        """The rules of sovereignty once more, at placement; each evaluation leaves a record."""
        for name in ask.spec.datasets:
            decision = catalogue.bind(name, f"job:{ask.job.key}", now=self.now, moment="placement")
            if decision.verdict is not Verdict.PASS:
                why = reason("refuse.sovereignty", dataset=name, rule=decision.ground.rule)
                cycle.refuse(ask.job, why, now=self.now)
                return False
        return True

    def _bound(self, offer: Offer, ask: Asked) -> dict[str, Any] | None:
        """Its cores and devices on this machine; on a cluster they are the cluster's to choose."""
        if self.here.deployment.cluster is not None:
            return {"cores": [], "devices": []}
        capacity = self.engines[offer.engine].capacity()
        return act.bind(capacity.cores, slots_of(self.here, offer.kind, capacity.devices), self._bounds, ask.spec)
