"""The event log's words: rows as JSON and back, what changed between two of them, and lines chained by SHA-256.

A log is lines of JSON. The first is a *snapshot*: rules, rows and history. Then a *decision* a line: the instant, what
changed in the rows (and in the rules, if they did), the hash of the tables that were decided on and of the plan.
Each line ends with the hash of itself and of the line before. Integers that may pass 2^53 are text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import (
    BlockRow,
    CapRow,
    History,
    JobRow,
    OptionRow,
    OutlookRow,
    PartitionRow,
    PoolRow,
    Rows,
    RunRow,
    SiteRow,
)

FORMAT: Final = "fabrique-decisions/1"
NOTHING: Final = "0" * 64  # the hash before the first line of all
Json = dict[str, Any]
_KINDS: Final[Mapping[str, Callable[..., Any]]] = {
    "partitions": PartitionRow,
    "sites": SiteRow,
    "pools": PoolRow,
    "jobs": JobRow,
    "runs": RunRow,
    "blocks": BlockRow,
    "outlooks": OutlookRow,
}


def in_order(rows: Rows) -> Rows:
    """The same rows in the order of their names, so that equal rows are decided on alike whoever gathered them."""
    return Rows(
        **{name: tuple(sorted(getattr(rows, name), key=_key)) for name in _KINDS},
        rooms=tuple(sorted(rows.rooms, key=lambda room: room[:2])),
    )


def snapshot(rows: Rows, rules: Rules, history: History) -> Json:
    return {
        "kind": "snapshot",
        "format": FORMAT,
        "rules": asdict(rules),
        "history": history_json(history),
        "rows": changes(None, rows),
    }


def decision(at_ms: int, changed: Json, rules: Rules | None, state: str, plan: str) -> Json:
    """`rules` where they are other than the line before's."""
    told: Json = {"kind": "decision", "at": at_ms, "state": state, "plan": plan}
    if changed:
        told["rows"] = changed
    if rules is not None:
        told["rules"] = asdict(rules)
    return told


def chained(previous: str, body: Json) -> tuple[str, str]:
    """The line that says `body` after the line whose hash is `previous`, and its own hash."""
    found = link(previous, body)
    return json.dumps({**body, "hash": found}, sort_keys=True, separators=(",", ":"), ensure_ascii=False), found


def link(previous: str, body: Mapping[str, Any]) -> str:
    told = {name: value for name, value in body.items() if name != "hash"}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


# --- rows ---------------------------------------------------------------------------------------------------------


def changes(before: Rows | None, after: Rows) -> Json:
    """By sort of row: `set`, new or other than before; `gone`, the names of those that are no more."""
    told: Json = {}
    for name in (*_KINDS, "rooms"):
        was = {} if before is None else {_key(row): row for row in getattr(before, name)}
        now = {_key(row): row for row in getattr(after, name)}
        new = [_json(row) for key, row in now.items() if was.get(key) != row]
        gone = [list(key) for key in was if key not in now]
        if new or gone:
            told[name] = {k: v for k, v in (("set", new), ("gone", gone)) if v}
    return told


def apply(rows: Rows | None, told: Mapping[str, Any]) -> Rows:
    """The rows after `told`, of `changes`. Raises ValueError, KeyError or TypeError for what no log of ours says."""
    found = {}
    for name in (*_KINDS, "rooms"):
        kept = {} if rows is None else {_key(row): row for row in getattr(rows, name)}
        said = told.get(name, {})
        for key in said.get("gone", []):
            del kept[tuple(key)]
        for data in said.get("set", []):
            row = _row(name, data)
            kept[_key(row)] = row
        found[name] = tuple(kept.values())
    return in_order(Rows(**found))


def _key(row: Any) -> tuple[str, ...]:
    if isinstance(row, tuple):
        return row[0], row[1]
    return (row.site,) if isinstance(row, OutlookRow) else (row.id,)


def _json(row: Any) -> Any:
    return list(row) if isinstance(row, tuple) else asdict(row)


def _row(name: str, data: Any) -> Any:
    if name == "rooms":
        allocation, unit, left = data
        return allocation, unit, left
    given = dict(data)
    if "option" in given:
        given["option"] = OptionRow(**given["option"])
    if "options" in given:
        given["options"] = tuple(OptionRow(**o) for o in given["options"])
    if "caps" in given:
        given["caps"] = tuple(CapRow(**c) for c in given["caps"])
    if "asks" in given:
        given["asks"] = tuple((unit, amount) for unit, amount in given["asks"])
    if "values" in given:
        given["values"] = tuple(given["values"])
    return _KINDS[name](**given)


# --- rules and history ------------------------------------------------------------------------------------------


def rules_of(told: Mapping[str, Any]) -> Rules:
    """Raises TypeError or ValueError for what is no rule set."""
    known = {f.name for f in fields(Rules)}
    if set(told) != known:
        raise ValueError(f"rules with {sorted(set(told) ^ known)}")
    return Rules(**told)


def history_json(history: History) -> Json:
    return {
        "at_ms": history.at_ms,
        "owed": _texts(history.owed),
        "no_borrow": dict(sorted(history.no_borrow.items())),
        "use": _texts(history.use),
        "preempted": {job: list(told) for job, told in sorted(history.preempted.items())},
        "deferred": dict(sorted(history.deferred.items())),
    }


def history_of(told: Mapping[str, Any]) -> History:
    """The inverse of `history_json`. Raises KeyError, TypeError or ValueError for anything else."""
    return History(
        at_ms=int(told["at_ms"]),
        owed=_numbers(told["owed"]),
        no_borrow=_numbers(told["no_borrow"]),
        use=_numbers(told["use"]),
        preempted={str(job): _pair(value) for job, value in told["preempted"].items()},
        deferred=_numbers(told["deferred"]),
    )


def _texts(values: Mapping[str, int]) -> dict[str, str]:
    return {name: str(value) for name, value in sorted(values.items())}


def _numbers(values: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(value) for name, value in values.items()}


def _pair(value: Sequence[Any]) -> tuple[int, int]:
    count, until = value
    return int(count), int(until)
