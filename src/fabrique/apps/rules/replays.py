"""Replays that are asked for, taken up by a process of the control loop, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from fabrique.apps.audit import services as audit
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.apps.rules.models import ReplayState, WhatIf
from fabrique.core.errors import FabriqueError

WAITING_MOST: Final = 5
KEPT: Final = 100  # older ones go, unless a proposal stands on them
SILENT_MS: Final = 60_000  # a process that says nothing for so long is gone
ATTEMPTS_MOST: Final = 2


def ask(person: Person, asked: Mapping[str, object], *, now: int) -> WhatIf:
    """A request that waits for its turn. Raises `right.denied`, `what-if.busy`."""
    rights.require(person, "what-if.run", now=now)
    with transaction.atomic():
        if WhatIf.objects.filter(state=ReplayState.WAITING).count() >= WAITING_MOST:
            raise FabriqueError("what-if.busy", most=WAITING_MOST)
        made = WhatIf.objects.create(asked_by=person, asked_ms=now, asked=dict(asked))
        audit.record(str(person.id), "what-if.ask", f"what-if:{made.id}", now=now, detail=asked)
        old = WhatIf.objects.filter(state__in=(ReplayState.DONE, ReplayState.FAILED)).order_by("-asked_ms")[KEPT:]
        WhatIf.objects.filter(pk__in=[one.pk for one in old]).delete()
    return made


def find(key: UUID) -> WhatIf:
    """Raises `what-if.missing`."""
    found = WhatIf.objects.select_related("asked_by").filter(pk=key).first()
    if found is None:
        raise FabriqueError("what-if.missing", what_if=str(key))
    return found


def next_waiting(*, now: int) -> UUID | None:
    """The oldest one to take up: it waits, or its process is gone."""
    gone = Q(state=ReplayState.RUNNING, seen_ms__lt=now - SILENT_MS)
    rows = WhatIf.objects.filter(Q(state=ReplayState.WAITING) | gone).order_by("asked_ms", "id")
    return rows.values_list("pk", flat=True).first()


def take(key: UUID, *, now: int) -> WhatIf | None:
    """Takes one up, once; None where another process has it, or it was tried too often."""
    free = Q(state=ReplayState.WAITING) | Q(state=ReplayState.RUNNING, seen_ms__lt=now - SILENT_MS)
    tired = WhatIf.objects.filter(free, pk=key, attempts__gte=ATTEMPTS_MOST)
    if tired.update(state=ReplayState.FAILED, ended_ms=now, error={"code": "what-if.failed", "params": {}}):
        return None
    mine = WhatIf.objects.filter(free, pk=key).update(
        state=ReplayState.RUNNING, attempts=F("attempts") + 1, permille=0, started_ms=now, seen_ms=now
    )
    return WhatIf.objects.get(pk=key) if mine else None


def progressed(key: UUID, permille: int, *, now: int) -> None:
    WhatIf.objects.filter(pk=key, state=ReplayState.RUNNING).update(permille=permille, seen_ms=now)


def done(key: UUID, result: Mapping[str, Any], *, now: int) -> None:
    running = WhatIf.objects.filter(pk=key, state=ReplayState.RUNNING)
    running.update(state=ReplayState.DONE, permille=1000, ended_ms=now, result=dict(result))


def failed(key: UUID, error: FabriqueError, *, now: int) -> None:
    """It ends with a message; one that has its result keeps it."""
    params = {name: value if isinstance(value, int) else str(value)[:400] for name, value in error.params.items()}
    open_ones = WhatIf.objects.filter(pk=key, state__in=(ReplayState.WAITING, ReplayState.RUNNING))
    open_ones.update(state=ReplayState.FAILED, ended_ms=now, error={"code": error.code, "params": params})
