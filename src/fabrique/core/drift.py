"""What somebody changed by hand since the hub last applied its plan, and a plan told field by field.

What was applied is kept as JSON (`as_json`, `from_json`); the same words serve a table and a record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fabrique.core.provision import Account, Found, Limits, Qos, Unseated, Wanted
from fabrique.core.provision_plan import (
    AddAccount,
    AddQos,
    AddUsers,
    Change,
    Edit,
    Left,
    SetAccount,
    SetDefault,
    SetQos,
    SetUsers,
    ShareQos,
    changes,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One field that a change sets. `sort` is account, qos, user or default; a value is None where there is none."""

    sort: str
    name: str
    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Drift:
    """A field that is not as it was applied. `mended`: what the next apply would set; None: it would leave it."""

    step: Step
    mended: str | None


def steps(made: Iterable[Change], found: Found) -> list[Step]:
    """The fields that these changes set, with what `found` has in them now."""
    return [step for change in made for step in _steps(change, found)]


def drift(
    applied: Wanted, wanted: Wanted, found: Found, had: Collection[str] = ()
) -> tuple[list[Drift], tuple[Left, ...]]:
    """What differs in `found` from what was last applied; and what stands in our subtree that we never made. `had`: the
    accounts that were the hub's then.
    """
    plan = changes(applied, found, had)
    mends = {(s.sort, s.name, s.field): s.after for s in steps(changes(wanted, found, had).changes, found)}
    differences = [
        Drift(Step(s.sort, s.name, s.field, before=s.after, after=s.before), mends.get((s.sort, s.name, s.field)))
        for s in steps(plan.changes, found)
    ]
    return differences, plan.left


def _steps(change: Change, found: Found) -> Iterator[Step]:
    match change:
        case AddQos(name, edit):
            yield Step("qos", name, "exists", None, "yes")
            yield from _edits("qos", name, edit, Limits())
        case AddAccount(name, parent, edit, qos, default):
            yield Step("account", name, "exists", None, "yes")
            yield Step("account", name, "parent", None, parent)
            yield from _edits("account", name, edit, Limits())
            if qos:
                yield Step("account", name, "qos", None, ",".join(qos))
                yield Step("account", name, "default qos", None, default)
        case SetQos(name, edit, keep):
            yield from _edits("qos", name, edit, found.qos[name].limits)
            if keep:
                yield Step("qos", name, "decays", "yes", "no")
        case SetAccount(name, edit, parent, qos, default):
            there = found.accounts[name]
            yield from _edits("account", name, edit, there.limits)
            if parent is not None:
                yield Step("account", name, "parent", there.parent, parent)
            if qos is not None:
                yield Step("account", name, "qos", ",".join(there.qos) or None, ",".join(qos))
            if default is not None:
                yield Step("account", name, "default qos", there.default_qos or None, default)
        case AddUsers(account, logins):
            for login in logins:
                yield Step("user", login, account, None, "open")
        case SetUsers(account, logins, closed):
            there_users = found.accounts[account].users if account in found.accounts else {}
            for login in logins:
                yield Step("user", login, account, _seat(there_users.get(login, False)), _seat(closed))
        case ShareQos(account, logins, qos):
            for login in logins:
                had = found.accounts[account].apart.get(login, ())
                yield Step("user", login, f"{account} qos", ",".join(had) or None, ",".join(qos))
        case SetDefault(login, account):
            yield Step("default", login, "account", found.defaults.get(login), account)


def _edits(sort: str, name: str, edit: Edit, there: Limits) -> Iterator[Step]:
    for tres, minutes in edit.minutes.items():
        before = there.minutes.get(tres)
        yield Step(
            sort,
            name,
            f"{tres} minutes",
            None if before is None else str(before),
            None if minutes is None else str(minutes),
        )
    if edit.wall is not None:
        yield Step(
            sort, name, "minutes a job", None if there.wall is None else str(there.wall), str(edit.wall or "") or None
        )
    if edit.closed is not None:
        yield Step(sort, name, "seat", _seat(there.closed), _seat(edit.closed))


def _seat(closed: bool | None) -> str:
    return "half" if closed is None else ("closed" if closed else "open")


# --- kept and read again ----------------------------------------------------------------------------------------------


def as_json(wanted: Wanted) -> dict[str, Any]:
    return asdict(wanted)


def from_json(data: Mapping[str, Any]) -> Wanted:
    """What `as_json` gave, once it went through JSON."""
    return Wanted(
        data["top"],
        dict(data["frames"]),
        {n: _account(a) for n, a in data["accounts"].items()},
        {n: Qos(q["name"], _limits(q["limits"]), q["decays"]) for n, q in data["qos"].items()},
        tuple(Unseated(**u) for u in data["unseated"]),
    )


def _account(data: Mapping[str, Any]) -> Account:
    return Account(
        data["name"],
        data["parent"],
        _limits(data["limits"]),
        tuple(data["qos"]),
        data["default_qos"],
        dict(data["users"]),
    )


def _limits(data: Mapping[str, Any]) -> Limits:
    return Limits(dict(data["minutes"]), data["wall"], data["closed"])
