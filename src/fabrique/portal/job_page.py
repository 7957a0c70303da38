"""`/jobs/<n>`: where a job stands, why, until when, what it printed and what it cost, with the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from fabrique import charts
from fabrique.apps.asking import asker, may, require
from fabrique.apps.energy.models import Window
from fabrique.apps.energy.queries import windows
from fabrique.apps.jobs import queries, services, specs
from fabrique.apps.jobs.models import FINAL, Intent, Run
from fabrique.apps.ledger.models import Hold, Posting
from fabrique.apps.now import now_ms
from fabrique.apps.this_hub import this_hub
from fabrique.charts import Chart, Layer, Limit, Plot, Step
from fabrique.core.job import JobState
from fabrique.core.units import MG, MJ, Amount, Unit, is_money, is_time
from fabrique.definitions import jobscript
from fabrique.language import Speaker
from fabrique.language.sooner import sentence as said_sooner
from fabrique.operate.why import why
from fabrique.portal.glance_charts import axis_of
from fabrique.portal.log_stream import Part, last_part
from fabrique.portal.speaker import current

HOUR_MS = 3_600_000
MOST_WINDOWS = 400


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job was charged, or has drawn so far while `settled` is False. None: nothing is known yet."""

    settled: bool
    time: Amount | None
    energy: Amount | None
    carbon: Amount | None
    money: Amount | None
    factor: str
    rate: str
    provenance: Mapping[str, object]

    @property
    def amounts(self) -> list[Amount]:
        return [a for a in (self.time, self.energy, self.carbon, self.money) if a is not None]


@dataclass(frozen=True, slots=True)
class Attempt:
    run: Run
    intents: Sequence[Intent]


@require_GET
def job(request: HttpRequest, number: int) -> HttpResponse:
    """One job: its state, why it waits and until when, its log, its energy, carbon and money."""
    person, now = asker(request), now_ms()
    found = services.find_job(number)
    require(person, "job.view", now=now, project=found.project)
    explained = queries.explain(found, now=now)
    run, speaker = explained.run, current()
    sees_log = may(person, "job.log", now=now, project=found.project).allowed
    context = {
        "job": found,
        "explained": explained,
        "run": run,
        "ran_ms": _ran(run, now),
        "walltime_ms": run.walltime_ms if run else int(found.spec["walltime_ms"]),
        "tolerated": specs.needs(found).tolerated_permille,
        "cost": cost(run) if run else None,
        "given_back": given_back(run) if run else None,
        "chart": power(run, speaker, now) if run and run.started_ms else None,
        "header": jobscript.header(specs.of(found)),
        "attempts": [Attempt(r, list(r.intents.order_by("created_ms"))) for r in found.runs.order_by("-attempt")],
        "log": _log(run) if run and sees_log else None,
        "sees_log": sees_log,
        "may_cancel": found.status not in FINAL and may(person, "job.cancel", now=now, project=found.project).allowed,
        "runs": found.status not in (JobState.PENDING.value, *FINAL),
        "over": found.status in FINAL,
        "now": now,
    }
    return render(request, "portal-desk/job.html", context)


@require_GET
def sooner(request: HttpRequest, number: int) -> HttpResponse:
    """When a job that waits starts, as an interval, and what would start it sooner: worked out when it is asked."""
    person, now = asker(request), now_ms()
    found = services.find_job(number)
    require(person, "job.view", now=now, project=found.project)
    told, speaker = why(this_hub(), found, now=now), current()
    changes = [] if told is None else [said_sooner(speaker, change, now) for change in told.changes]
    return render(request, "portal-desk/job_sooner.html", {"job": found, "told": told, "changes": changes})


def _ran(run: Run | None, now: int) -> int | None:
    if run is None or run.started_ms is None:
        return None
    return run.elapsed_ms if run.elapsed_ms is not None else max((run.ended_ms or now) - run.started_ms, 0)


def _log(run: Run) -> Part:
    return last_part(run)


def cost(run: Run) -> Cost:
    """From the run's settlement; before it, the energy attributed so far and what the hold froze."""
    charged = [Amount(Unit(u), int(v)) for u, v in run.charged.items()]
    hold = Hold.objects.filter(pk=run.hold).first()
    frozen: Mapping[str, object] = hold.frozen if hold else {}
    energy = next((a for a in charged if a.unit == MJ), None)
    return Cost(
        settled=bool(charged),
        time=next((a for a in charged if is_time(a.unit)), None),
        energy=energy or (Amount(MJ, run.energy_mj) if run.energy_mj else None),
        carbon=next((a for a in charged if a.unit == MG), None),
        money=next((a for a in charged if is_money(a.unit)), None),
        factor=str(frozen.get("factor") or ""),
        rate=str(frozen.get("rate") or ""),
        provenance=run.energy_provenance,
    )


def given_back(run: Run) -> Amount | None:
    """The computing time that a lower power level cost, once it was given back; None: none was."""
    if run.level is None:
        return None
    rows = Posting.objects.filter(ref=str(run.hold), account="hub:frugality-rebate", unit=run.unit)
    found = rows.aggregate(all=Sum("amount"))["all"]
    return Amount(Unit(run.unit), found) if found else None


def power(run: Run, speaker: Speaker, now: int) -> Chart | None:
    """What the hub drew while the job ran, over the whole hours around it."""
    start, end = run.started_ms or now, run.ended_ms or now
    found = windows(this_hub().site, start, max(end, start + 1))[-MOST_WINDOWS:]
    if not found:
        return None
    layers = [
        Layer(_("jobs"), _steps(found, "jobs_mj"), 0),
        Layer(_("idle"), _steps(found, "idle_mj"), 4),
        Layer(_("overhead"), _steps(found, "overhead_mj"), 3),
        Layer(_("residual"), _steps(found, "residual_mj"), None),
    ]
    cap = found[-1].cap_w
    first, last = start // HOUR_MS * HOUR_MS, -(-max(end, start + 1) // HOUR_MS) * HOUR_MS
    limit = None
    if cap is not None:
        limit = Limit(_("cap %(power)s") % {"power": speaker.power(cap)}, [Step(first, last, cap)])
    plot = Plot(
        key=f"run-{run.id.hex[:8]}",
        title=_("What the hub drew while the job ran"),
        desc=_("Mean power of the site in each metering window, by what drew it; all jobs that ran are in it."),
        from_ms=first,
        to_ms=last,
        layers=[layer for layer in layers if any(s.value for s in layer.steps)] or layers[:1],
        limit=limit,
        time_name=_("from"),
    )
    return charts.over_time(plot, axis_of(speaker))


def _steps(found: Sequence[Window], part: str) -> list[Step]:
    """Mean watts: a millijoule a millisecond is a watt."""
    return [Step(w.start_ms, w.end_ms, getattr(w, part) / max(w.end_ms - w.start_ms, 1)) for w in found]
