"""What people ask about applications, projects and allocations. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from fabrique.apps.access.models import Allocation, AllocationState, Application, ApplicationState, Project
from fabrique.apps.access.models import ProjectMember as Member
from fabrique.apps.access.services import DAY_MS, find_mode
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people.models import Membership, Person
from fabrique.apps.this_hub import this_hub
from fabrique.core.access import Mode, Text
from fabrique.core.booking import BUCKETS, Policy, account, room
from fabrique.core.units import Unit, is_time, kind_of
from fabrique.definitions import accelerators

_CORES = Text("processor cores", "des cœurs de processeur")


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One unit of an allocation: granted = used + held + lost + expired + transferred + available.

    `bookable` is what a hold may still take under the policy (None: no end). `limited` is False for what is only
    counted. `pace_per_day` would use up what is available by the end of the allocation.
    """

    unit: Unit
    granted: int
    used: int
    held: int
    lost: int
    expired: int
    transferred: int
    available: int
    limited: bool
    bookable: int | None
    pace_per_day: int | None


@dataclass(frozen=True, slots=True)
class AllocationSummary:
    allocation: Allocation
    mode: Mode
    lines: tuple[BudgetLine, ...]  # time first, then what is limited, then what is only counted
    script_line: str  # the exact line for a script
    acknowledgement: Text

    @property
    def open(self) -> bool:
        return self.allocation.state == AllocationState.OPEN


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    project: Project
    members: tuple[Member, ...]
    allocations: tuple[AllocationSummary, ...]


def project_summary(project: Project, *, now: int) -> ProjectSummary:
    allocations = Allocation.objects.filter(project=project).select_related("award__application")
    return ProjectSummary(
        project,
        tuple(_members(project)),
        tuple(allocation_summary(a, now=now) for a in allocations),
    )


def members_of(project: Project, *, now: int) -> list[tuple[Member, str]]:
    """The current members, the principal investigator first, each with the name of their organisation, or ""."""
    members = list(_members(project))
    names = _organisation_names([m.person_id for m in members], now)
    return [(m, names.get(m.person_id, "")) for m in members]


def _organisation_names(persons: Sequence[UUID], now: int) -> dict[UUID, str]:
    current = Q(until_ms__isnull=True) | Q(until_ms__gt=now)
    held = Membership.objects.filter(current, person__in=persons, since_ms__lte=now)
    return {m.person_id: m.organisation.name for m in held.select_related("organisation")}


def _members(project: Project) -> QuerySet[Member]:
    found = Member.objects.filter(project=project, until_ms__isnull=True).select_related("person")
    return found.order_by("-role", "since_ms", "id")


def allocation_summary(allocation: Allocation, *, now: int) -> AllocationSummary:
    version = allocation.award.application.mode_version
    mode = find_mode(allocation.mode, now=now, version=version)
    lines = budget_lines(allocation, now=now)
    time = next((x.unit for x in lines if is_time(x.unit)), None)
    hub = this_hub().hub
    words = {
        "hub": str(hub.name.best or hub.id),
        "project": allocation.project.code,
    }
    said, machine = mode.acknowledgement, _machine(time)
    acknowledgement = Text(
        said.en.format(**words, machine=machine.en),
        said.fr.format(**words, machine=machine.fr),
        said.fr_ca.format(**words, machine=machine.fr) if said.fr_ca else None,
    )
    return AllocationSummary(allocation, mode, lines, f"#fabrique project: {allocation.project.code}", acknowledgement)


def _machine(time: Unit | None) -> Text:
    """What a paper calls the devices; the hub's own cores have no name that a reader would know."""
    if time is None:
        return Text("", "")
    kind = kind_of(time)
    if kind == accelerators.LOCAL_KIND:
        return _CORES
    known = accelerators.catalogue().get(kind)
    name = kind if known is None else known.name
    return Text(name, name)


def budget_lines(allocation: Allocation, *, now: int) -> tuple[BudgetLine, ...]:
    """Every unit the allocation was ever granted or counted in."""
    name = str(allocation.id)
    found = ledger.balances(f"allocation:{name}:")
    policies = ledger.policies(name)
    units = sorted({u for _, u in found} | set(policies), key=lambda u: (not is_time(u), u not in policies, u))
    days = max(allocation.ends_ms - now, 0) / DAY_MS
    lines = []
    for u in units:
        of = {b: found.get((account(name, b), u), 0) for b in BUCKETS}
        limited = u in policies
        left = of["available"]
        lines.append(
            BudgetLine(
                unit=u,
                granted=-of["granted"],
                used=of["used"],
                held=of["held"],
                lost=of["lost"],
                expired=of["expired"],
                transferred=of["transferred"],
                available=left,
                limited=limited,
                bookable=_bookable(name, u, policies[u]) if limited else None,
                pace_per_day=int(left / days) if limited and days > 0 and left > 0 else None,
            )
        )
    return tuple(lines)


def pool_balances() -> dict[tuple[str, Unit], dict[str, int]]:
    """(pool, unit) -> bucket -> sum over all its allocations; granted is what was granted, not its contra account."""
    pools = {str(key): pool for key, pool in Allocation.objects.values_list("pk", "pool")}
    found: dict[tuple[str, Unit], dict[str, int]] = {}
    for (name, unit), value in ledger.balances("allocation:").items():
        _, allocation, bucket = name.split(":", 2)
        if allocation in pools:
            sums = found.setdefault((pools[allocation], unit), dict.fromkeys(BUCKETS, 0))
            sums[bucket] += -value if bucket == "granted" else value
    return found


def _bookable(allocation: str, unit: Unit, policy: Policy) -> int | None:
    left = room(allocation, unit, policy, ledger.balance)
    return None if left is None else max(left, 0)


def projects_of(person: Person, *, now: int) -> QuerySet[Project]:
    """The projects of which the person is a member at `now`."""
    current = Q(members__until_ms__isnull=True) | Q(members__until_ms__gt=now)
    return Project.objects.filter(current, members__person=person, members__since_ms__lte=now).distinct()


def applications_of(person: Person) -> QuerySet[Application]:
    return Application.objects.filter(applicant=person).select_related("project")


def waiting_applications() -> QuerySet[Application]:
    """Those that an officer has to decide, the most urgent first."""
    waiting = Application.objects.filter(state=ApplicationState.SUBMITTED)
    return waiting.select_related("applicant", "project").order_by("due_ms", "submitted_ms")


def with_organisations(applications: Iterable[Application], *, now: int) -> list[tuple[Application, str]]:
    """Each application with the name of its applicant's organisation at `now`, or ""."""
    found = list(applications)
    names = _organisation_names([a.applicant_id for a in found], now)
    return [(a, names.get(a.applicant_id, "")) for a in found]
