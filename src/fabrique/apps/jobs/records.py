"""What an engine's accounting said of runs, kept as it said it: a row a record, and up to when it was read.

Every function joins the caller's transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db.models import Min

from fabrique.apps.jobs.models import EngineRecord, HubState, RecordState, Run, RunState
from fabrique.core.reasons import Reason

LIVE = (RunState.PLANNED, RunState.RUNNING)
_AT_ONCE = 500


def known(engine: str, keys: Sequence[str]) -> dict[str, EngineRecord]:
    found: dict[str, EngineRecord] = {}
    for i in range(0, len(keys), _AT_ONCE):
        rows = EngineRecord.objects.filter(engine=engine, key__in=keys[i : i + _AT_ONCE])
        found |= {row.key: row for row in rows}
    return found


def one(engine: str, key: str) -> EngineRecord | None:
    return EngineRecord.objects.filter(engine=engine, key=key).select_related("run").first()


def keep(
    engine: str,
    key: str,
    raw: bytes,
    state: RecordState,
    *,
    now: int,
    run: Run | None = None,
    why: Reason | None = None,
) -> None:
    """One row a key, with the latest bytes; written only where something changed."""
    told = {} if why is None else why.as_json()
    row = EngineRecord.objects.filter(engine=engine, key=key).first()
    if row is None:
        row = EngineRecord(engine=engine, key=key, first_ms=now)
    elif (row.state, row.reason, row.run_id, bytes(row.raw)) == (state, told, run.pk if run else None, raw):
        return
    row.raw, row.state, row.reason, row.run, row.changed_ms = raw, state, told, run, now
    row.save()


def run_of(engine: str, handle: str, key: str) -> Run | None:
    """The run of a record: by its handle, unless another record of the accounting has that run already."""
    ours = _intent(handle)
    runs = Run.objects.filter(engine=engine, pk=ours, handle="") if ours else Run.objects.none()
    run = Run.objects.filter(engine=engine, handle=handle).first() or runs.first()
    if run is None or run.records.exclude(key=key).exists():
        return None
    return run


def is_taken_by_another(engine: str, handle: str, key: str) -> bool:
    """Whether another record has the run of this intent of ours."""
    ours = _intent(handle)
    rows = EngineRecord.objects.filter(engine=engine, run=ours).exclude(key=key)
    return ours is not None and rows.exists()


def _intent(handle: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(hex=handle.removeprefix("run-")) if handle.startswith("run-") else None
    except ValueError:
        return None


def read_up_to(engine: str) -> int | None:
    """The instant up to which the engine's accounting was read."""
    state = HubState.objects.filter(pk=1).first()
    return None if state is None else state.ingested.get(engine)


def advance(engine: str, at_ms: int) -> None:
    state = HubState.objects.select_for_update().get_or_create(pk=1)[0]
    if state.ingested.get(engine) != at_ms:
        state.ingested = {**state.ingested, engine: at_ms}
        state.save(update_fields=["ingested"])


def unsettled_since(engine: str) -> int | None:
    """When the first of the runs ended that were settled since their record was last read as open."""
    open_rows = EngineRecord.objects.filter(engine=engine, state=RecordState.OPEN, run__isnull=False)
    first: int | None = open_rows.exclude(run__state__in=LIVE).aggregate(first=Min("run__ended_ms"))["first"]
    return first
