"""What an officer should know before deciding: what would be approved, and what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fabrique.apps.access.models import Application
from fabrique.apps.access.services import Assessment, assess_again, find_mode
from fabrique.apps.ledger import services as ledger
from fabrique.apps.this_hub import this_hub
from fabrique.core.booking import pool_account
from fabrique.core.eligibility import Verdict, asked_ms
from fabrique.core.form import checked
from fabrique.core.units import Amount, Unit

SHORT_MONTHS = 1
NEARLY_EMPTY_PERMILLE = 100  # of what the pool could still award


@dataclass(frozen=True, slots=True)
class Warning:
    """`code` is late, old-mode, short, beyond-pool, nearly-empty or not-eligible; `at_ms` and `left` go with it."""

    code: str
    at_ms: int | None = None
    left: Amount | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """What accepting would grant from `pool`, for how many months; None where the form does not say."""

    asked: Amount | None
    pool: str
    months: int | None
    assessment: Assessment
    warnings: tuple[Warning, ...]


def advise(application: Application, *, now: int) -> Advice:
    """The application judged again now, by the version of the mode it was made under. Raises `mode.missing`."""
    mode = find_mode(application.mode, now=now, version=application.mode_version)
    values, _ = checked(mode, application.form)
    unit = this_hub().units.get(str(values.get("kind", "")))
    hours, told = asked_ms(values), values.get("months")
    asked = Amount(unit, hours) if unit and hours is not None else None
    months = told if type(told) is int else None
    pool = this_hub().pool_for(mode)
    assessment = assess_again(application, now=now)
    found = [*_dates(application, mode.valid_to, months, now), *_pool(pool, unit, asked)]
    if any(a.verdict is Verdict.FAIL for a in assessment.answers):
        found.append(Warning("not-eligible"))
    return Advice(asked, pool, months, assessment, tuple(found))


def _dates(application: Application, valid_to: int | None, months: int | None, now: int) -> Iterator[Warning]:
    if application.due_ms is not None and application.due_ms < now:
        yield Warning("late", application.due_ms)
    if valid_to is not None and valid_to <= now:
        yield Warning("old-mode", valid_to)
    if months is not None and months <= SHORT_MONTHS:
        yield Warning("short")


def _pool(pool: str, unit: Unit | None, asked: Amount | None) -> Iterator[Warning]:
    if unit is None or asked is None:
        return
    left = ledger.balance(pool_account(pool, "unallocated"), unit)
    if asked.value > left:
        yield Warning("beyond-pool", left=Amount(unit, left))
    elif (left - asked.value) * 1000 < left * NEARLY_EMPTY_PERMILLE:
        yield Warning("nearly-empty", left=Amount(unit, left - asked.value))
