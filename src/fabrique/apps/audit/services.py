"""The one way to add to the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fabrique.apps.audit.models import Record, SovereigntyDecision


def record(
    actor: str,
    action: str,
    subject: str,
    *,
    now: int,
    allowed: bool = True,
    reason: Mapping[str, object] | None = None,
    detail: Mapping[str, object] | None = None,
) -> Record:
    return Record.objects.create(
        at_ms=now,
        actor=actor,
        action=action,
        subject=subject,
        allowed=allowed,
        reason=dict(reason or {}),
        detail=dict(detail or {}),
    )


def sovereignty(
    moment: str, subject: str, verdict: str, trace: Sequence[Mapping[str, object]], *, now: int
) -> SovereigntyDecision:
    """One evaluation of the rules, with the trace of every rule asked."""
    return SovereigntyDecision.objects.create(
        at_ms=now, moment=moment, subject=subject, verdict=verdict, trace=[dict(t) for t in trace]
    )
