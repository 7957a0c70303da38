"""What is due from time to time: allocations that end, the capacity of a new year, a signed checkpoint, accounts."""

from __future__ import annotations

import logging

from fabrique.apps.access import services as access
from fabrique.apps.ledger import services as ledger
from fabrique.apps.this_hub import YEAR_MS, ThisHub
from fabrique.core import booking
from fabrique.core.errors import FabriqueError
from fabrique.core.units import Amount
from fabrique.operate import provision
from fabrique.operate.founding import yearly

log = logging.getLogger("fabrique.loop")


def perform(here: ThisHub, *, now: int) -> None:
    """Everything that is due at `now`; repeating it does nothing twice."""
    access.end_allocations(now=now)
    renew_capacity(here, now=now)
    ledger.checkpoint(here.hub.id, now=now)
    check_grid(here, now=now)
    follow_awards(here, now=now)


def follow_awards(here: ThisHub, *, now: int) -> None:
    """Accounts and limits at the cluster keep up with awards and members; what fails is tried again next time."""
    if here.deployment.cluster is None:
        return
    try:
        done = provision.follow(here, now=now)
    except FabriqueError as error:
        log.warning("accounts at the cluster wait: %s", error)
        return
    for refused in done.refused if done else ():
        log.warning("the cluster refused %r: %s", refused.change, refused.why)


def check_grid(here: ThisHub, *, now: int) -> None:
    """Say once that the grid's files can't be used, and once that they can again."""
    told = here.hourly.news(now) if here.hourly else None
    if told:
        log.warning("the yearly average stands in for the grid's files: %s", told)
    elif told is not None:
        log.info("the grid's files are used again")


def renew_capacity(here: ThisHub, *, now: int) -> bool:
    """The next year's hours, a year after the last ones; what was not awarded of those is past."""
    last = ledger.last_capacity()
    if last is None or now < last.at_ms + YEAR_MS:
        return False
    with ledger.batch("capacity", {"hub": here.hub.id, "after": str(last.seq)}, now=now) as acts:
        if ledger.last_capacity() != last:  # another loop was first
            return False
        accounts = {booking.pool_account(pool, "unallocated"): pool for pool in here.shares}
        left = [
            (accounts[account], Amount(unit, value))
            for (account, unit), value in ledger.balances("pool:").items()
            if account in accounts and value > 0
        ]
        detail = {"hub": here.hub.id, "period": "one year of 365 days"}
        acts.add(booking.new_year(left, yearly(here), here.hub.id, detail))
    return True
