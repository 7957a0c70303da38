"""The ledger's head and signed checkpoint, its verification, and statements that carry their proof."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Path, Router

from fabrique.apps.asking import asker, person_for, require
from fabrique.apps.audit import services as audit
from fabrique.apps.jobs.services import find_project
from fabrique.apps.ledger import services, verify
from fabrique.apps.ledger.models import Checkpoint, Entry
from fabrique.apps.now import now_ms
from fabrique.apps.reports.document import as_json
from fabrique.core.errors import FabriqueError
from fabrique.portal import statements
from fabrique.portal.api import shapes
from fabrique.portal.api.strict import Code, Period

router = Router()


@router.get("/ledger/head", response=shapes.HeadOut, summary="The last entry of the chain")
def head(request: HttpRequest) -> dict[str, Any]:
    require(asker(request), "hub.view", now=now_ms())
    last = Entry.objects.order_by("-seq").first()
    if last is None:
        raise FabriqueError("home.missing", home="")
    return {"seq": str(last.seq), "hash": last.hash, "at_ms": last.at_ms}


@router.get("/ledger/checkpoint", response=shapes.CheckpointOut, summary="The last signed checkpoint: keep it")
def checkpoint(request: HttpRequest) -> dict[str, Any]:
    """Who keeps one outside can show later that the chain was not rewritten."""
    require(asker(request), "hub.view", now=now_ms())
    last = Checkpoint.objects.order_by("-seq", "-id").first()
    if last is None:
        raise FabriqueError("home.missing", home="")
    return dict(services.checkpoint_json(last))


@router.post("/ledger/verify", response=shapes.Json, summary="Recompute the whole ledger")
def run(request: HttpRequest, sent: shapes.CheckpointsIn) -> dict[str, Any]:
    """Against checkpoints from outside, if you give some. Answers when it is done: minutes for a very large ledger."""
    now = now_ms()
    person = person_for(request, "ledger.verify", now=now)
    report = verify.verify([c.dict() for c in sent.checkpoints]).as_json()
    audit.record(str(person.id), "ledger.verify", "ledger", now=now, detail=report)
    return report


@router.get("/statements/projects/{code}", response=shapes.Json, summary="A project's statement with its proofs")
def of_project(request: HttpRequest, code: Path[Code], period: Period = "") -> dict[str, Any]:
    """`period=2026-11` for one month; everything without it. `fabrique_verify.py` checks the file."""
    return as_json(statements.project_made(asker(request), find_project(code), period, now=now_ms()))


@router.get("/statements/pools/{pool}", response=shapes.Json, summary="A pool's statement with its proofs")
def of_pool(request: HttpRequest, pool: Path[Code], period: Period = "") -> dict[str, Any]:
    return as_json(statements.pool_made(asker(request), pool, period, now=now_ms()))
