"""Who asks, the hub and its definition, every hub that comes with the program, energy windows, carbon factors."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.middleware.csrf import get_token
from ninja import Path, Router

from fabrique.apps.asking import asker, require
from fabrique.apps.energy.models import Window
from fabrique.apps.jobs.models import HubState
from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.apps.this_hub import this_hub
from fabrique.core import hub as core
from fabrique.core.errors import FabriqueError
from fabrique.definitions import hubs, zones
from fabrique.portal.api import shapes
from fabrique.portal.api.plain import plain
from fabrique.portal.api.strict import HubId, Number

router = Router()
MOST_WINDOWS = 5_000
DAY_MS = 86_400_000


@router.get("/session", response=shapes.SessionOut, summary="Who you are, and the token that writes need")
def session(request: HttpRequest) -> dict[str, Any]:
    person = asker(request)
    return {
        "person": str(person.id) if person else None,
        "name": person.name if person else None,
        "roles": sorted(rights.roles_of(person, now=now_ms())) if person else [],
        "csrf_token": get_token(request),
    }


@router.get("/hub", response=shapes.ThisHubOut, summary="This hub: what is connected, and its whole definition")
def this(request: HttpRequest) -> dict[str, Any]:
    require(asker(request), "hub.view", now=now_ms())
    here = this_hub()
    state = HubState.objects.filter(pk=1).first()
    return {
        **_listed(here.hub),
        "site": here.site,
        "zone": here.zone,
        "timezone": here.timezone,
        "currency": here.currency,
        "languages": list(here.languages),
        "cap_w": here.cap_w,
        "offers": [
            {"partition": o.partition, "kind": o.kind, "unit": o.unit, "devices_milli": str(o.milli_devices)}
            for o in here.offers
        ],
        "shares_ppm": dict(here.shares),
        "observe_only": bool(state and state.observe_only),
        "definition": plain(here.hub),
    }


@router.get("/hubs", response=list[shapes.HubOut], summary="The hubs that come with the program")
def every(request: HttpRequest) -> list[dict[str, Any]]:
    require(asker(request), "hub.view", now=now_ms())
    return [_listed(hubs.load_builtin(hub_id)) for hub_id in sorted(hubs.builtin())]


@router.get("/hubs/{hub_id}", response=shapes.Json, summary="One definition, each value with its source and status")
def one(request: HttpRequest, hub_id: Path[HubId]) -> dict[str, Any]:
    require(asker(request), "hub.view", now=now_ms())
    if hub_id not in hubs.builtin():
        raise FabriqueError("definition.missing", hub=hub_id, known=sorted(hubs.builtin()))
    return dict(plain(hubs.load_builtin(hub_id)))


def _listed(hub: core.Hub) -> dict[str, Any]:
    return {
        "id": hub.id,
        "name": hub.name.best,
        "jurisdiction": hub.jurisdiction,
        "nulls": core.nulls(hub),
        "assumptions": len(hub.assumptions),
    }


@router.get("/windows", response=list[shapes.WindowOut], summary="Energy of the site, window by window")
def windows(request: HttpRequest, from_ms: Number | None = None, to_ms: Number | None = None) -> list[dict[str, Any]]:
    """Windows that touch [from_ms, to_ms), the last day without bounds; at most 5,000, the oldest first."""
    now = now_ms()
    require(asker(request), "hub.view", now=now)
    end = now if to_ms is None else to_ms
    start = end - DAY_MS if from_ms is None else from_ms
    found = Window.objects.filter(site=this_hub().site, end_ms__gt=start, start_ms__lt=end).order_by("start_ms")
    return [_window(w) for w in found[:MOST_WINDOWS]]


def _window(w: Window) -> dict[str, Any]:
    sums = ("meter_mj", "jobs_mj", "idle_mj", "overhead_mj", "residual_mj", "saved_mj")
    return {
        "start_ms": w.start_ms,
        "end_ms": w.end_ms,
        **{name: str(getattr(w, name)) for name in sums},
        "cap_w": w.cap_w,
        "mg_per_kwh": None if w.mg_per_kwh is None else str(w.mg_per_kwh),
        "provenance": plain(w.provenance),
    }


@router.get("/factors", response=list[shapes.FactorOut], summary="Carbon factors of every grid zone, each of its sort")
def factors(request: HttpRequest) -> list[dict[str, Any]]:
    require(asker(request), "hub.view", now=now_ms())
    return [
        {
            "zone": f.zone,
            "year": f.year,
            "kind": f.kind,
            "scope": f.scope,
            "basis": f.basis,
            "method": f.method,
            "mg_per_kwh": str(f.mg_per_kwh),
            "source": str(f.source),
        }
        for zone in zones.catalogue().values()
        for f in zone.factors
    ]
