"""`/operate`: what waits for a decision, whether the loop and the engines work, what the books say, who may do what."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Thread

from django.contrib import messages
from django.db import Error, close_old_connections
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from fabrique.apps.access import queries as access
from fabrique.apps.asking import asker, may, person_for, require
from fabrique.apps.audit import services as audit
from fabrique.apps.audit.models import Record
from fabrique.apps.energy.models import Window
from fabrique.apps.jobs import records
from fabrique.apps.jobs.models import HubState, Job, Lease, Run, RunState
from fabrique.apps.ledger import verify as ledger
from fabrique.apps.ledger.models import Checkpoint, Entry, Posting
from fabrique.apps.now import now_ms
from fabrique.apps.people.models import Person
from fabrique.apps.this_hub import ThisHub, this_hub
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.meters.detect import discover
from fabrique.meters.modelled import CoreModel
from fabrique.meters.protocol import Meter
from fabrique.operate import out_of_service
from fabrique.operate.cluster_metering import ClusterMetering
from fabrique.operate.engines import reader, transport_of
from fabrique.operate.loop import LEASE_MS
from fabrique.operate.resume import forgotten
from fabrique.operate.resume import resume as let_act
from fabrique.portal import roles_page
from fabrique.portal.speaker import current

log = logging.getLogger("fabrique.portal")

DAY_MS = 86_400_000
STALE_MS = 3 * LEASE_MS
AT_ONCE = 20_000  # postings: a ledger up to this size is verified while one waits
VERIFY_MOST_MS = 30 * 60_000  # a verification that has not answered by then is given up
SHOWN = 50
BEGAN, DONE = "ledger.verify.begin", "ledger.verify"


@dataclass(frozen=True, slots=True)
class LoopState:
    """`alive`: a cycle ended lately. `leader` names who may act, `epoch` fences who could before."""

    state: HubState
    leader: str
    epoch: int
    alive: bool
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class Energy:
    """Sums over the last day at the meter, in mJ; None where nothing was measured."""

    meter: int
    jobs: int
    idle: int
    overhead: int
    residual: int
    last: Window

    @property
    def residual_permille(self) -> int:
        return round(1000 * self.residual / self.meter) if self.meter else 0


@dataclass(frozen=True, slots=True)
class Verification:
    """The last one: running since `at_ms`, or with its report."""

    at_ms: int
    running: bool
    report: Mapping[str, object]


@require_GET
def machine_room(request: HttpRequest) -> HttpResponse:
    """The machine room: applications to decide, loop, engines, meters, power, ledger, roles."""
    person, now = asker(request), now_ms()
    require(person, "operate.view", now=now)
    here = this_hub()
    waiting, loop = access.waiting_applications(), loop_state(now)
    context = {
        "waiting": access.with_organisations(waiting[:SHOWN], now=now),
        "waiting_count": waiting.count(),
        "late_count": waiting.filter(due_ms__lt=now).count(),
        "loop": loop,
        "forgotten": list(forgotten(reader(here))) if loop.state.observe_only else [],
        "here": here,
        "engines": here.deployment.engines,
        "set_aside": records.set_aside(SHOWN),
        "read_up_to": loop.state.ingested,
        "out": out_of_service.kept(loop.state.decided).nodes,
        "meters": [(m, m.available()) for m in meters(here)],
        "energy": energy(here, now),
        "head": Entry.objects.order_by("-seq").first(),
        "checkpoint": Checkpoint.objects.order_by("-seq", "-id").first(),
        "verification": last_verification(now),
        "pools": sorted(here.shares),
        "roles": roles_page.card(person, now),
        "may_resume": may(person, "operate.resume", now=now).allowed,
        "may_verify": may(person, "ledger.verify", now=now).allowed,
        "may_audit": may(person, "audit.view", now=now).allowed,
        "may_pool": may(person, "pool.statement", now=now).allowed,
        "may_decide": may(person, "application.decide", now=now).allowed,
        "now": now,
    }
    return render(request, "portal-desk/operate.html", context)


def loop_state(now: int) -> LoopState:
    state = HubState.objects.filter(pk=1).first() or HubState(pk=1)
    lease = Lease.objects.filter(name="loop").first()
    holds = lease is not None and now < lease.expires_ms
    return LoopState(
        state,
        leader=lease.holder if lease and holds else "",
        epoch=lease.epoch if lease else 0,
        alive=state.last_cycle_ms is not None and now - state.last_cycle_ms < STALE_MS,
        waiting=Job.objects.filter(status=JobState.PENDING.value).count(),
        running=Run.objects.filter(state=RunState.RUNNING).count(),
    )


def meters(here: ThisHub) -> list[Meter]:
    """Every meter this program knows, there or not; of a hub on a cluster, its nodes'."""
    cluster = here.deployment.cluster
    if cluster is not None:
        return [ClusterMetering(here, cluster, transport_of(cluster).nodes).meter]
    return discover(CoreModel(here.core_idle_w, here.core_max_w, here.model_error_permille))


def energy(here: ThisHub, now: int) -> Energy | None:
    found = list(Window.objects.filter(site=here.site, end_ms__gt=now - DAY_MS).order_by("start_ms"))
    if not found:
        return None
    return Energy(
        meter=sum(w.meter_mj for w in found),
        jobs=sum(w.jobs_mj for w in found),
        idle=sum(w.idle_mj for w in found),
        overhead=sum(w.overhead_mj for w in found),
        residual=sum(w.residual_mj for w in found),
        last=found[-1],
    )


@require_POST
def resume(request: HttpRequest) -> HttpResponse:
    """Lets a restored hub act again, at the operator's word."""
    now = now_ms()
    person = person_for(request, "operate.resume", now=now)
    if request.POST.get("confirm", "").strip() != this_hub().hub.id:
        messages.error(request, _("Nothing was changed: type the hub's name to confirm."))
        return redirect("operate")
    here = this_hub()
    done = let_act(here, reader(here), person, now=now)
    messages.success(request, _("The hub acts again from its next cycle."))
    if done.adopted:
        jobs = current().listed([str(n) for n in done.adopted])
        messages.success(request, _("Runs taken up again, for jobs: %(jobs)s.") % {"jobs": jobs})
    for intent in done.unknown:
        said = _("The engine holds %(intent)s, of which no job is known; it is left to end by itself.")
        messages.warning(request, said % {"intent": intent})
    return redirect("operate")


# --- verification -----------------------------------------------------------------------------------------------


@require_POST
def verify(request: HttpRequest) -> HttpResponse:
    """Recomputes the whole ledger; a large one in the background, with its result on this page."""
    now = now_ms()
    person = person_for(request, "ledger.verify", now=now)
    running = last_verification(now)
    if running is None or not running.running:
        audit.record(str(person.id), BEGAN, "ledger", now=now)
        if Posting.objects.count() <= AT_ONCE:
            run_verification(person)
        else:
            Thread(target=_in_background, args=(person,), name="verify", daemon=True).start()
    return redirect("/operate#ledger")


def run_verification(person: Person) -> dict[str, object]:
    """Verifies now and keeps the report in the record."""
    try:
        report = ledger.verify().as_json()
    except FabriqueError as error:
        report = {"ok": False, "error": str(error)[:400]}
    audit.record(str(person.id), DONE, "ledger", now=now_ms(), detail=report)
    return report


def _in_background(person: Person) -> None:
    try:
        run_verification(person)
    except Error:
        log.exception("the verification could not be recorded")
    finally:
        close_old_connections()


def last_verification(now: int) -> Verification | None:
    last = Record.objects.filter(action__in=(BEGAN, DONE)).order_by("-id").first()
    if last is None:
        return None
    if last.action == BEGAN:
        alive = now - last.at_ms < VERIFY_MOST_MS
        return Verification(last.at_ms, alive, {} if alive else {"ok": False, "error": "timeout"})
    return Verification(last.at_ms, False, last.detail)


# --- the record -------------------------------------------------------------------------------------------------


@require_GET
def record(request: HttpRequest) -> HttpResponse:
    """Who did what, on which ground: the newest first, for the auditor and the desk."""
    person, now = asker(request), now_ms()
    require(person, "audit.view", now=now)
    before = _number(request.GET.get("before", ""))
    rows = Record.objects.order_by("-id")
    page = list((rows.filter(pk__lt=before) if before else rows)[:SHOWN])
    names = {str(p.id): p.name for p in Person.objects.filter(pk__in=_ids(page))}
    context = {
        "rows": [(r, names.get(r.actor, r.actor)) for r in page],
        "count": rows.count(),
        "next": page[-1].pk if len(page) == SHOWN else None,
    }
    return render(request, "portal-desk/record.html", context)


def _ids(page: list[Record]) -> list[str]:
    """Actors that are persons: the others are names of parts of the hub."""
    return [r.actor for r in page if len(r.actor) == 36]


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise FabriqueError("request.broken", field="before")
    return int(text)
