"""The books of the hub in FABRIQUE_HOME as one line of JSON; a program, for a process has one hub's database."""

from __future__ import annotations

import collections
import json
import os
import sys
from dataclasses import asdict
from typing import Any


def main(since_ms: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "fabrique.portal.settings"
    import django

    django.setup()
    sys.stdout.write(json.dumps(asdict(read(since_ms))) + "\n")


def read(since_ms: int) -> Any:
    from tests.journey.slurm_hub import FINAL, Books

    from fabrique.apps.jobs.models import EngineRecord, Job, Run
    from fabrique.apps.ledger import services as ledger
    from fabrique.apps.ledger.models import Hold
    from fabrique.apps.ledger.verify import verify
    from fabrique.apps.provision.models import Place

    jobs = list(Job.objects.filter(submitted_ms__gte=since_ms // 1000 * 1000))
    runs = list(Run.objects.filter(job__in=jobs).select_related("job").order_by("planned_ms"))
    names = {place.allocation_id: place.account.name for place in Place.objects.select_related("account")}
    charged: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in names.values()}
    for run in runs:
        charged[names[run.job.allocation_id]].update(
            {unit: int(value) for unit, value in run.charged.items() if unit.split(":")[0] in ("acc-ms", "core-ms")}
        )
    report = verify()
    postings = by_ledger(runs, names)
    for name, beyond in postings[2].items():
        charged[name].update(beyond)
    balances = ledger.balances("allocation:")
    return Books(
        jobs=len(jobs),
        by_status=dict(collections.Counter(job.status for job in jobs)),
        open=[job.number for job in jobs if job.status not in FINAL],
        runs=[
            {
                "job": run.job.outside_id or run.job.number, "account": names[run.job.allocation_id],
                "attempt": run.attempt, "handle": run.handle or f"run-{run.id.hex}", "state": run.state,
                "elapsed_ms": run.elapsed_ms, "charged": run.charged, "reason": run.reason.get("code"),
                "started_ms": run.started_ms, "nodes": run.bound.get("nodes"),
            }
            for run in runs
        ],
        charged=without_zeros(charged),
        charged_by_ledger=postings[0],
        refunded=postings[1],
        held=sum(v for (account, _), v in balances.items() if account.endswith(":held")),
        open_holds=Hold.objects.filter(settled__isnull=True).count(),
        quarantined=list(EngineRecord.objects.filter(state="quarantined").values("key", "reason")),
        ledger_ok=report.ok,
        divergence=str(report.first_divergence),
    )  # fmt: skip


def by_ledger(runs: Any, names: Any) -> tuple[dict[str, dict[str, int]], ...]:
    """What the postings of these runs' holds say of time, by account and unit: what they were charged with what was
    beyond their hold, what was given back, and what was beyond alone: Slurm ends a job some seconds after its limit.
    """
    from fabrique.apps.ledger.models import Posting

    account_of = {str(run.hold): names[run.job.allocation_id] for run in runs}
    charged: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in names.values()}
    refunded: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in names.values()}
    beyond: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in names.values()}
    for one in Posting.objects.filter(ref__in=list(account_of)):
        whose, is_time = account_of[one.ref], one.unit.startswith(("acc-ms:", "core-ms:"))
        if is_time and one.account == "hub:overrun":
            beyond[whose][one.unit] += one.amount
            charged[whose][one.unit] += one.amount
        elif is_time and one.account.startswith("allocation:") and one.account.rpartition(":")[2] in ("used", "lost"):
            into, sign = (refunded, -1) if one.what == "refund" else (charged, 1)
            into[whose][one.unit] += sign * one.amount
    return without_zeros(charged), without_zeros(refunded), without_zeros(beyond)


def without_zeros(sums: Any) -> dict[str, dict[str, int]]:
    return {name: {unit: value for unit, value in one.items() if value} for name, one in sums.items()}


if __name__ == "__main__":
    main(int(sys.argv[1]))
