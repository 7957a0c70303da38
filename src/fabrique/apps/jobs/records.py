"""What an engine's accounting said of runs, kept as it said it: a row a record, and up to when it was read.

Every function joins the caller's transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Count, Min, Q

from fabrique.apps import in_bulk
from fabrique.apps.jobs.models import EarlierReading, EngineRecord, HubState, RecordState, Run, RunState
from fabrique.core.reasons import Reason

LIVE = (RunState.PLANNED, RunState.RUNNING)
_AT_ONCE = 500


def known(engine: str, keys: Sequence[str]) -> dict[str, EngineRecord]:
    found: dict[str, EngineRecord] = {}
    for i in range(0, len(keys), _AT_ONCE):
        rows = EngineRecord.objects.filter(engine=engine, key__in=keys[i : i + _AT_ONCE])
        found |= {row.key: row for row in rows}
    return found


def open_keys(engine: str) -> list[str]:
    """Of the records that still ran when they were last read."""
    return list(EngineRecord.objects.filter(engine=engine, state=RecordState.OPEN).values_list("key", flat=True))


def rename(engine: str, keys: Mapping[str, str]) -> None:
    """Records that are known by another key from now on, by their old ones; whose new one is taken stays as it is."""
    taken = known(engine, list(keys.values()))
    for old, new in keys.items():
        if new not in taken:
            EngineRecord.objects.filter(engine=engine, key=old, state=RecordState.OPEN).update(key=new)


class Shelf:
    """The rows of some records and the runs they may be of, each read once, under the caller's lock.

    `handles` are those of the records. A run is one record's alone: another with the same handle is another run.
    """

    def __init__(self, engine: str, keys: Sequence[str], handles: Sequence[str], *, now: int) -> None:
        self._engine, self._now = engine, now
        self.rows = known(engine, keys)
        intents = {pk: handle for handle in handles if (pk := _intent(handle)) is not None}
        told = {row.run_id for row in self.rows.values() if row.run_id is not None}
        which = Q(handle__in=set(handles)) | Q(pk__in=intents.keys(), handle="") | Q(pk__in=told)
        runs = Run.objects.filter(which, engine=engine).select_related("job").defer("job__script")
        self._runs = {run.pk: run for run in runs}
        self._by_handle = {run.handle or intents.get(run.pk, ""): run.pk for run in self._runs.values()}
        linked = EngineRecord.objects.filter(engine=engine, run__in=self._runs).values_list("run_id", "key")
        self._key_of: dict[uuid.UUID, str] = dict(linked)
        self._new: dict[str, EngineRecord] = {}
        self._changed: dict[str, EngineRecord] = {}
        self._earlier: list[EarlierReading] = []

    def run(self, key: str, handle: str) -> Run | None:
        """The run of this record."""
        row = self.rows.get(key)
        pk = row.run_id if row is not None and row.run_id else self._by_handle.get(handle)
        return None if pk is None or self._key_of.get(pk, key) != key else self._runs[pk]

    def is_another_s(self, key: str, handle: str) -> bool:
        """Whether another record has the run of this handle."""
        pk = self._by_handle.get(handle)
        return pk is not None and self._key_of.get(pk, key) != key

    def keep(
        self, key: str, raw: bytes, state: RecordState, *, run: Run | None = None, why: Reason | None = None
    ) -> None:
        """One row a key, with the latest bytes; those that were booked stay beside. Written only where it changed."""
        told = {} if why is None else why.as_json()
        row = self.rows.get(key)
        if run is not None:
            self._runs[run.pk] = run
            self._by_handle.setdefault(run.handle, run.pk)
            self._key_of[run.pk] = key
        if row is None:
            row = self._new[key] = EngineRecord(engine=self._engine, key=key, first_ms=self._now)
            self.rows[key] = row
        elif (row.state, row.reason, row.run_id, bytes(row.raw)) == (state, told, run.pk if run else None, raw):
            return
        elif key not in self._new:
            self._changed[key] = row
            if row.state == RecordState.BOOKED and bytes(row.raw) != raw:
                self._earlier.append(EarlierReading(record=row, raw=bytes(row.raw), until_ms=self._now))
        row.raw, row.state, row.reason, row.run, row.changed_ms = raw, state, told, run, self._now

    def write(self) -> None:
        EngineRecord.objects.bulk_create(self._new.values())
        names = ("raw", "state", "reason", "run", "changed_ms")
        in_bulk.rewrite(list(self._changed.values()), names)
        EarlierReading.objects.bulk_create(self._earlier)


def _intent(handle: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(hex=handle.removeprefix("run-")) if handle.startswith("run-") else None
    except ValueError:
        return None


def set_aside(most: int) -> list[dict[str, Any]]:
    """`engine`, `reason`, `n`, `since_ms` of what is quarantined, and of what runs by the accounting's word alone."""
    held = Q(state=RecordState.QUARANTINED) | Q(state=RecordState.OPEN) & ~Q(reason={})
    rows = EngineRecord.objects.filter(held).order_by().values("engine", "reason")
    return [
        dict(row) for row in rows.annotate(n=Count("pk"), since_ms=Min("first_ms")).order_by("-n", "since_ms")[:most]
    ]


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
