"""What has to change in Slurm's accounting for it to be as the awards want it, in an order that locks nobody out.

Nothing outside the top account is ever named in a change, but for an account that the hub had inside and a hand moved
out; and nothing is ever deleted: neither an account, nor a user, nor a seat that somebody's default account is. What
the hub doesn't know inside the top account is said, and left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fabrique.core.provision import Account, Found, Limits, Qos, Wanted


@dataclass(frozen=True, slots=True)
class Edit:
    """Limits to set; None leaves a field as it is. In `minutes` None takes a limit away, `wall` 0 does."""

    minutes: Mapping[str, int | None] = field(default_factory=dict)
    wall: int | None = None
    closed: bool | None = None

    def __bool__(self) -> bool:
        return bool(self.minutes) or self.wall is not None or self.closed is not None


@dataclass(frozen=True, slots=True)
class AddQos:
    name: str
    edit: Edit = Edit()


@dataclass(frozen=True, slots=True)
class AddAccount:
    name: str
    parent: str
    edit: Edit = Edit()
    qos: tuple[str, ...] = ()
    default_qos: str = ""


@dataclass(frozen=True, slots=True)
class SetQos:
    name: str
    edit: Edit
    keep: bool = False  # from now on nothing fades


@dataclass(frozen=True, slots=True)
class SetAccount:
    name: str
    edit: Edit = Edit()
    parent: str | None = None
    qos: tuple[str, ...] | None = None
    default_qos: str | None = None


@dataclass(frozen=True, slots=True)
class AddUsers:
    account: str
    logins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetUsers:
    account: str
    logins: tuple[str, ...]
    closed: bool


@dataclass(frozen=True, slots=True)
class ShareQos:
    """From now on these users have the account's QoS, which are `qos`."""

    account: str
    logins: tuple[str, ...]
    qos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetDefault:
    login: str
    account: str


Change = AddQos | AddAccount | SetQos | SetAccount | AddUsers | SetUsers | ShareQos | SetDefault
Why = Literal["outside", "stranger", "stranger-user", "partition"]


@dataclass(frozen=True, slots=True)
class Left:
    """What is left as it is, and said: a name of ours that stands outside the top account, an account inside it that
    the hub did not make, a user whom somebody put right into the top or a pool's account, a partition that it does not
    know on its nodes.
    """

    why: Why
    name: str
    where: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`changes` in an order in which each can be made, and in which nobody stands without a way in between."""

    changes: tuple[Change, ...]
    left: tuple[Left, ...] = ()


def changes(wanted: Wanted, found: Found, had: Collection[str] = ()) -> Plan:
    """What turns `found` into `wanted`; nothing once it was done. `had`: accounts that the hub had already, which are
    its own wherever a hand has moved them.
    """
    inside = found.inside(wanted.top) | (set(had) & set(found.accounts))
    left = list(_left(wanted, found, inside))
    away = {item.name for item in left if item.why == "outside"}
    ours = [a for a in wanted.accounts.values() if a.name not in away and a.parent not in away]
    added: list[Change] = [AddQos(q.name, _all(q.limits)) for n, q in wanted.qos.items() if n not in found.qos]
    for name, parent in wanted.frames.items():
        if name not in found.accounts:
            added.append(AddAccount(name, parent))
        elif name != wanted.top and name not in away and found.accounts[name].parent != parent:
            added.append(SetAccount(name, parent=parent))
    added += [
        AddAccount(a.name, a.parent, _all(a.limits), a.qos, a.default_qos) for a in ours if a.name not in found.accounts
    ]
    maybe = [*(_edit_qos(q, found) for q in wanted.qos.values()), *(_edit_account(a, found) for a in ours)]
    edits: list[Change] = [edit for edit in maybe if edit is not None]
    seats = [change for a in ours for change in _seats(a, found)]
    defaults = list(_defaults(ours, found, inside))
    closing = [c for c in (*edits, *seats) if _closes(c)]
    opening = [c for c in (*edits, *seats) if not _closes(c)]
    return Plan((*added, *opening, *defaults, *closing), tuple(left))


def _left(wanted: Wanted, found: Found, inside: Collection[str]) -> Iterator[Left]:
    for name in (*wanted.frames, *wanted.accounts):
        if name != wanted.top and name in found.accounts and name not in inside:
            yield Left("outside", name, found.accounts[name].parent)
    for name in sorted(inside):
        if name in wanted.frames:
            for login in sorted(found.accounts[name].users):
                yield Left("stranger-user", login, name)
        elif name not in wanted.accounts:
            yield Left("stranger", name, found.accounts[name].parent)


def _all(limits: Limits) -> Edit:
    """Everything that a new account or QoS is to have."""
    return Edit(dict(limits.minutes), limits.wall, True if limits.closed else None)


def _edit(wanted: Limits, found: Limits) -> Edit:
    minutes: dict[str, int | None] = {k: v for k, v in wanted.minutes.items() if found.minutes.get(k) != v}
    minutes |= {k: None for k in sorted(found.minutes) if k not in wanted.minutes}
    wall = None if wanted.wall == found.wall else (wanted.wall or 0)
    return Edit(minutes, wall, None if wanted.closed is found.closed else wanted.closed)


def _edit_qos(wanted: Qos, found: Found) -> SetQos | None:
    there = found.qos.get(wanted.name)
    if there is None:
        return None
    edit = _edit(wanted.limits, there.limits)
    return SetQos(wanted.name, edit, there.decays) if edit or there.decays else None


def _edit_account(wanted: Account, found: Found) -> SetAccount | None:
    there = found.accounts.get(wanted.name)
    if there is None:
        return None
    edit = _edit(wanted.limits, there.limits)
    parent = None if there.parent == wanted.parent else wanted.parent
    qos = None if not wanted.qos or set(there.qos) == set(wanted.qos) else wanted.qos
    default = None if there.default_qos == wanted.default_qos or not wanted.qos else wanted.default_qos
    if edit or parent is not None or qos is not None or default is not None:
        return SetAccount(wanted.name, edit, parent, qos, default)
    return None


def _closes(change: Change) -> bool:
    return (isinstance(change, SetUsers) and change.closed) or (
        isinstance(change, (SetQos, SetAccount)) and change.edit.closed is True
    )


def _seats(wanted: Account, found: Found) -> Iterator[Change]:
    """Members in, former ones out; a closed account is left as it is, for its members come with the next award."""
    there = found.accounts[wanted.name].users if wanted.name in found.accounts else {}
    new = tuple(sorted(login for login in wanted.users if login not in there))
    back = tuple(sorted(login for login in wanted.users if there.get(login, False) is not False))
    if new:
        yield AddUsers(wanted.name, new)
    if back:
        yield SetUsers(wanted.name, back, closed=False)
    if wanted.name in found.accounts and wanted.qos and (apart := found.accounts[wanted.name].apart):
        yield ShareQos(wanted.name, tuple(sorted(apart)), wanted.qos)
    gone = tuple(sorted(u for u, shut in there.items() if u not in wanted.users and shut is not True))
    if gone and not wanted.limits.closed:
        yield SetUsers(wanted.name, gone, closed=True)


def _defaults(ours: Sequence[Account], found: Found, inside: Collection[str]) -> Iterator[SetDefault]:
    """A default elsewhere stays. One in an account of ours that is closed to its user moves to one that is open."""
    mine = {a.name: a for a in ours}
    seated: dict[str, list[str]] = {}
    for a in ours:
        for login in a.users if not a.limits.closed else ():
            seated.setdefault(login, []).append(a.name)
    for login in sorted({*seated, *(u for u, account in found.defaults.items() if account in mine)}):
        now, open_ones = found.defaults.get(login), seated.get(login, [])
        if now is None:  # one whom Slurm has never seen gets the first account they are put into
            if found.seats(login):
                yield SetDefault(login, open_ones[0])
        elif now in mine and now not in open_ones:
            elsewhere = [n for n in found.seats(login) if n not in inside and not _shut(found.accounts[n], login)]
            if open_ones or elsewhere:
                yield SetDefault(login, (open_ones or elsewhere)[0])


def _shut(account: Account, login: str) -> bool:
    return account.limits.closed is True or account.users.get(login) is True
