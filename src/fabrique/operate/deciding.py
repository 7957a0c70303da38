"""One decision after the other: what the loop remembers between turns, and what it writes in the event log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from fabrique.apps.rules import services as adopted
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission import decide, plan, prepare, record
from fabrique.core.admission.decide import Memory
from fabrique.core.admission.plan import Plan
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import History, Rows
from fabrique.definitions import rules as rule_sets
from fabrique.operate.event_log import EventLog

log = logging.getLogger("fabrique.loop")

DEFAULT_RULES: Final = "fair"  # until the hub adopts others
AGAIN_MS: Final = 5_000  # the same rows are decided on again then: only time may have changed an order


class Deciding:
    """The decisions of one loop while it holds the lease. `kept` is the history as the database has it, or empty."""

    def __init__(self, home: Path, kept: dict[str, Any], now: int) -> None:
        self.log = EventLog(home)
        self._memory = Memory(history_of(kept, now))
        self._rows: Rows | None = None
        self._rules: Rules | None = None
        self._due_ms = 0

    def plan(self, rows: Rows, rules: Rules, now: int) -> Plan | None:
        """The plan; None while nothing changed and no time came: the last plan then still holds."""
        if rows == self._rows and rules == self._rules and now < self._due_ms:
            return None
        if self.log.wants_snapshot:
            history = decide.passed(self._memory, rows, rules, now)
            self._memory = Memory(history)
            self.log.begin(now, record.snapshot(rows, rules, history))
            changed, other = {}, None
        else:
            changed, other = record.changes(self._rows, rows), rules if rules != self._rules else None
        taken = decide.take(self._memory, rows, rules, now)
        hashes = prepare.digest(taken.tables.state), plan.digest(taken.plan)
        self.log.append(record.decision(now, changed, other, *hashes))
        self._memory, self._rows, self._rules = taken.memory, rows, rules
        acts = taken.plan.starts or taken.plan.preempts or taken.plan.recaps
        self._due_ms = now if acts else _next(rows, taken.memory.history, now)
        return taken.plan

    def kept(self) -> dict[str, Any]:
        """What a restart goes on from."""
        return record.history_json(self._memory.history)


def rules_in_force(here: ThisHub, now: int) -> Rules:
    """The rule set that the hub decides by at `now`: what two people adopted last, else the default."""
    found = adopted.in_force(now)
    if found is None:
        return rule_sets.load(DEFAULT_RULES)
    try:
        return adopted.rules_of(found)
    except (TypeError, ValueError):
        log.error("the rules %s that were adopted can't be read by this program: the default ones hold", found.name)
        return rule_sets.load(DEFAULT_RULES)


def history_of(kept: dict[str, Any], now: int) -> History:
    """What was kept; a history that can't be read begins anew: nothing is owed, nothing was used."""
    try:
        found = record.history_of(kept)
    except (KeyError, TypeError, ValueError, AttributeError):
        return History(at_ms=now)
    return found if found.at_ms <= now else History(at_ms=now)


def _next(rows: Rows, history: History, now: int) -> int:
    """When the same rows may be decided on otherwise."""
    instants = [now + AGAIN_MS, *(row.not_before_ms for row in rows.jobs), *(run.ends_ms for run in rows.runs)]
    instants += [cap.from_ms for site in rows.sites for cap in site.caps]
    instants += [at for block in rows.blocks for at in (block.from_ms, block.until_ms)]
    instants += [until for _, until in history.preempted.values()] + list(history.deferred.values())
    return min(at for at in instants if at > now)
