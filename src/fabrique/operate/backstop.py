"""What stands between Slurm and the cap when the hub is passed by: watt licences, and the door's small file.

The licences leave what the cap leaves above the idle nodes; every job takes its own at submission, so Slurm itself
starts nothing above the cap, also while the hub is away. The file tells the door at each submission what interactive
work may take now; once its beat is old, the site's choice of door decides.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.provision.models import Place
from fabrique.apps.this_hub import ThisHub
from fabrique.core import booking
from fabrique.core.clock import has_passed
from fabrique.core.errors import FabriqueError
from fabrique.core.job import MILLI
from fabrique.core.units import HOUR_MS
from fabrique.definitions.cluster import Cluster
from fabrique.engines.slurm.files import door
from fabrique.engines.slurm.files.door import AccountRoom, PartitionRoom
from fabrique.operate.ahead import is_ahead
from fabrique.operate.cluster_files import full_licences
from fabrique.operate.out_of_service import NOTHING, Away
from fabrique.operate.provision import accounting_of

log = logging.getLogger("fabrique.loop")

INTERACTIVE_MS: Final = HOUR_MS  # an interactive job is let in where its budget covers so long
ACCOUNTS_MS: Final = 10_000  # what accounts have left is asked of the ledger so often
LICENCES_MS: Final = 60_000  # whether somebody changed the licences by hand, so often


class Backstop:
    """Kept between turns; every part that fails is said once and tried again, and stops no turn."""

    def __init__(self, here: ThisHub, cluster: Cluster) -> None:
        self.here, self.cluster = here, cluster
        self.path = Path(here.home) / door.STATE
        self._accounts: list[AccountRoom] = []
        self._accounts_at = self._licences_at = -LICENCES_MS
        self._licences = door.licences(self.path)  # as they are in Slurm, or were said to be: no job is given more
        self._told = ""

    def renew(self, runs: Sequence[Run], away: Away = NOTHING, *, now: int) -> None:
        """At the end of each turn in which the hub may act."""
        try:
            if has_passed(self._accounts_at, ACCOUNTS_MS, now=now) or self._lacks_some():
                self._accounts, self._accounts_at = list(accounts(self.here, self.cluster)), now
            try:
                self._keep_licences(now)
            finally:  # without licences the door still has to know what is free
                room = rooms(self.here, self.cluster, runs, away)
                door.write(self.path, now, self._accounts, room, self._licences)
        except (FabriqueError, OSError, ValueError) as error:
            self._tell(str(error))
        else:
            self._told = ""

    def _lacks_some(self) -> bool:
        """An account that the door does not know is nobody's to hold."""
        named = Place.objects.filter(engine=self.cluster.engine).values_list("account__name", flat=True)
        return not set(named) <= {room.account for room in self._accounts}

    def _keep_licences(self, now: int) -> None:
        """As many as the cap leaves; where there are none at all, the site has not installed them."""
        if self.cluster.watt_licence is None or not has_passed(self._licences_at, LICENCES_MS, now=now):
            return
        self._licences_at = now
        accounting, wanted = accounting_of(self.cluster), full_licences(self.cluster)
        there = accounting.licences(self.cluster.watt_licence)
        self._licences = door.Licences(there or 0, self.cluster.licence_w)
        if there is not None and there != wanted:
            accounting.set_watts(self.cluster.watt_licence, wanted)
            self._licences = door.Licences(wanted, self.cluster.licence_w)
            log.info("watt licences at %s: %d, after %d", self.cluster.engine, wanted, there)

    def _tell(self, why: str) -> None:
        if why != self._told:
            log.warning("the back-stop at %s is not renewed: %s", self.cluster.engine, why)
        self._told = why


def rooms(here: ThisHub, cluster: Cluster, runs: Sequence[Run], away: Away = NOTHING) -> Iterator[PartitionRoom]:
    """What is free of each partition, under each of Slurm's names of it; what is released ahead takes nothing yet."""
    devices: dict[str, int] = defaultdict(int)
    cores: dict[str, int] = defaultdict(int)
    watts = (here.cap_w or 0) - here.base_w - away.watts
    for block in away.blocks:
        devices[block.partition] += block.milli_devices // MILLI
        cores[block.partition] += block.milli_cores // 1000
    for run in (r for r in runs if not is_ahead(r)):
        spec = specs.needs(run.job)
        devices[run.partition] += spec.milli_devices // MILLI
        cores[run.partition] += spec.cores
        watts -= int(run.bound.get("power_w", 0))
    for p in cluster.partitions:
        free = p.nodes * p.devices - devices[p.id], p.nodes * p.cores - cores[p.id]
        for name in p.names:
            yield PartitionRoom(name, *free, watts)


def accounts(here: ThisHub, cluster: Cluster) -> Iterator[AccountRoom]:
    """What interactive work may take on each account there, by what its allocations still let be held."""
    most = here.connected.counts
    found: dict[str, tuple[int, int]] = {}
    for place in Place.objects.filter(engine=cluster.engine).select_related("account", "allocation"):
        allocation, devices, cores = str(place.allocation_id), 0, 0
        if place.allocation.state == "open":
            for unit, policy in ledger.policies(allocation).items():
                kind = next((k for k, u in here.units.items() if u == unit), None)
                if kind is None:
                    continue
                room = booking.room(allocation, unit, policy, ledger.balance)
                many = most[kind] if room is None else max(min(room // INTERACTIVE_MS, most[kind]), 0)
                if here.devices[kind] == "core":
                    cores = max(cores, many)
                else:
                    devices = max(devices, many)
        before = found.get(place.account.name, (0, 0))
        found[place.account.name] = max(before[0], devices), max(before[1], cores)
    # devices come with cores: whoever may take one may take those of its node
    per_device = max((p.cores // p.devices for p in cluster.partitions if p.devices), default=0)
    for name, (devices, cores) in found.items():
        yield AccountRoom(name, devices, max(cores, devices * per_device))
