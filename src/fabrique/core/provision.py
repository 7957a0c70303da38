"""What should stand in Slurm's accounting for the awards of this hub, in plain values.

    top account (`fabrique`) > one account a pool > one account a project > its members

The end of an award is a closing: it refuses new jobs, lets running ones end in peace, keeps what was counted, and can
be undone. The limits are the back-stop inside Slurm; the ledger decides before they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fabrique.core.booking import Exhaustion, Policy
from fabrique.core.naming import login_of
from fabrique.core.units import Unit, ceil_divide

MINUTE_MS: Final = 60_000

# --- what is given ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    """Of one unit, device-milliseconds: `used` holds what was lost too; `back` was used and given back again."""

    granted: int
    used: int = 0
    back: int = 0
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One award's live account, for [starts_ms, ends_ms), and the names it was given on this cluster."""

    id: str
    project: str
    pool: str
    mode: str
    starts_ms: int
    ends_ms: int
    open: bool
    grants: Mapping[Unit, Grant]
    account: str
    qos: str = ""

    def live(self, now_ms: int) -> bool:
        return self.open and self.starts_ms <= now_ms < self.ends_ms


@dataclass(frozen=True, slots=True)
class Member:
    person: str
    login: str


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster: its name, the top account, the account of each pool, what Slurm calls each unit of time, and the
    longest a job of a mode may last, where the site says so.
    """

    cluster: str
    parent: str
    pools: Mapping[str, str]
    tres: Mapping[Unit, str]
    walls_ms: Mapping[str, int] = field(default_factory=dict)


# --- what should be, and what is --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """`minutes` by Slurm's resource; `wall` minutes of one job. `closed` None: half so, which only a hand does."""

    minutes: Mapping[str, int] = field(default_factory=dict)
    wall: int | None = None
    closed: bool | None = False


@dataclass(frozen=True, slots=True)
class Account:
    """`qos` empty: as its parent has it. `users` says of each whether their seat is closed.

    `apart`: the QoS of users who have others than the account. A hand gave them; no budget of ours counts what runs so.
    """

    name: str
    parent: str
    limits: Limits = Limits()
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    users: Mapping[str, bool | None] = field(default_factory=dict)
    apart: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Qos:
    """`decays`: whether what was used in it fades with time, as fair-share does; a budget must not."""

    name: str
    limits: Limits = Limits()
    decays: bool = False


@dataclass(frozen=True, slots=True)
class Unseated:
    """A member who can't be let in: nobody knows their login on the machine, or it is none."""

    project: str
    person: str
    login: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """`frames` are the top account and the pools': they are made where they lack, and are the site's otherwise."""

    top: str
    frames: Mapping[str, str]  # name -> parent
    accounts: Mapping[str, Account]
    qos: Mapping[str, Qos]
    unseated: tuple[Unseated, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The accounts of the whole cluster, every QoS, and users' default accounts. `unread`: lines of no known shape."""

    accounts: Mapping[str, Account] = field(default_factory=dict)
    qos: Mapping[str, Qos] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def inside(self, top: str) -> frozenset[str]:
        """The account `top` and all below it."""
        names = {top} & set(self.accounts)
        while more := {a.name for a in self.accounts.values() if a.parent in names} - names:
            names |= more
        return frozenset(names)

    def seats(self, login: str) -> list[str]:
        return sorted(a.name for a in self.accounts.values() if login in a.users)


def desired(
    allocations: Iterable[Allocation], members: Mapping[str, Sequence[Member]], site: Site, now_ms: int
) -> Wanted:
    """What should stand on the cluster `site` at `now_ms`. An allocation that has not begun opens nothing yet."""
    begun = sorted((a for a in allocations if a.starts_ms <= now_ms), key=lambda a: (a.starts_ms, a.id))
    frames = {site.parent: "root", **dict.fromkeys(sorted(set(site.pools.values())), site.parent)}
    accounts: dict[str, Account] = {}
    budgets: dict[str, Qos] = {}
    unseated: list[Unseated] = []
    for name in sorted({a.account for a in begun}):
        own = [a for a in begun if a.account == name]
        in_use = [a for a in own if a.live(now_ms)] or own
        qos = tuple(sorted({a.qos for a in in_use if a.qos}))
        for each in sorted({a.qos for a in own if a.qos}):
            budgets[each] = Qos(each, _limits([a for a in own if a.qos == each], site, now_ms))
        closed = not any(a.live(now_ms) for a in own)
        limits = Limits(closed=closed) if qos else _limits(own, site, now_ms)
        users: dict[str, bool | None] = {}
        for member in () if closed else members.get(own[0].project, ()):
            login = login_of(member.login)
            if login is None:
                unseated.append(Unseated(own[0].project, member.person, member.login))
            else:
                users[login] = False
        default = next((a.qos for a in in_use if a.qos), "")
        accounts[name] = Account(name, site.pools[in_use[0].pool], limits, qos, default, users)
    return Wanted(site.parent, frames, accounts, budgets, tuple(dict.fromkeys(unseated)))


def _limits(own: Sequence[Allocation], site: Site, now_ms: int) -> Limits:
    """Of allocations that share one account or QoS: Slurm counts there all that any of them ever used."""
    live = [a for a in own if a.live(now_ms)]
    unlimited = {
        site.tres[u]
        for a in live
        for u, g in a.grants.items()
        if u in site.tres and g.policy.exhaustion is Exhaustion.SHARE
    }
    sums: dict[str, int] = {}
    for a in own:
        for unit, grant in a.grants.items():
            if unit in site.tres:
                sums[site.tres[unit]] = sums.get(site.tres[unit], 0) + _bound(grant, a.live(now_ms))
    minutes = {tres: ceil_divide(ms, MINUTE_MS) for tres, ms in sorted(sums.items()) if tres not in unlimited}
    walls = [site.walls_ms.get(a.mode) for a in live]
    longest = max((w for w in walls if w is not None), default=None) if None not in walls else None
    return Limits(minutes, None if longest is None else ceil_divide(longest, MINUTE_MS), not live)


def _bound(grant: Grant, live: bool) -> int:
    """The most that Slurm may count: what was given back was counted there all the same."""
    if not live:
        return min(grant.used, grant.granted) + grant.back
    margin = grant.policy.margin_permille if grant.policy.exhaustion is Exhaustion.DEGRADE else 0
    return ceil_divide(grant.granted * (1_000 + margin), 1_000) + grant.back
