"""`/metrics`: who may read it, and the answer. What is in it is the room `portal.metrics`."""

from __future__ import annotations

import hmac
import logging
from ipaddress import IPv6Address, ip_address
from typing import Final

from django.conf import settings
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from fabrique.apps.asking import asker
from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.apps.this_hub import this_hub
from fabrique.portal.metrics import HubCollector

log = logging.getLogger("fabrique.portal")
_FORWARDED: Final = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
_SHORTEST: Final = 16  # characters of a token that is believed


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The hub in numbers for Prometheus: from its own machine, with its token, or signed in to run or audit it."""
    now = now_ms()
    related = frozenset({rights.COLLECTOR}) if collects(request) else frozenset[str]()
    person = None if related else asker(request)
    if person is None and not related:
        answer = HttpResponse("unauthorized: send the token as a bearer\n", status=401, content_type="text/plain")
        answer.headers["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return answer
    rights.require(person, "metrics.view", now=now, relations=related)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(HubCollector(this_hub(), now))
    try:
        body = generate_latest(registry)
    except Error as error:
        log.error("no metrics: the database does not answer: %s", type(error).__name__)
        return HttpResponse("database\n", status=503, content_type="text/plain")
    fresh = {"Cache-Control": "no-store"}
    return HttpResponse(body, content_type=CONTENT_TYPE_PLAIN_0_0_4, headers=fresh)


def collects(request: HttpRequest) -> bool:
    """Whether a program asks that knows the token, or that runs on this machine with no proxy in between."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = _token()
    if scheme.lower() == "bearer" and token:
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token)
    return not scheme and _on_this_machine(request)


def _on_this_machine(request: HttpRequest) -> bool:
    """Behind a proxy every visitor comes from the loopback address: there the token alone counts."""
    if settings.HTTPS or settings.PROXIES or any(name in request.META for name in _FORWARDED):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _token() -> bytes:
    """What `fabrique init` wrote; empty where there is none, or where others of the machine can read it."""
    path = settings.HOME / "keys" / "metrics.key"
    try:
        if path.stat().st_mode & 0o077:
            log.warning("keys/metrics.key can be read by others: it opens nothing until its mode is 0600")
            return b""
        token: bytes = path.read_bytes()[:256].strip()
    except OSError:
        return b""
    return token if len(token) >= _SHORTEST else b""
