"""Slurm's accounting through `sacctmgr`: what stands there is read, changed and read back.

Names and numbers alone are asked for, never a description: whoever could write one could forge a line with it. A line
of another shape is kept as `unread`. Each call takes about a third of a second, so that a change is one call.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.core.provision import Account, Found, Limits, Qos
from fabrique.core.provision_plan import (
    AddAccount,
    AddQos,
    AddUsers,
    Change,
    Edit,
    SetAccount,
    SetDefault,
    SetQos,
    SetUsers,
    ShareQos,
)
from fabrique.engines.slurm.model import LICENCE_SERVER

MOST_BYTES: Final = 256 * 1024 * 1024
_ASSOC: Final = (
    "Account,User,Partition,ParentName,GrpTRESMins,GrpJobs,GrpSubmitJobs,MaxJobs,MaxSubmitJobs,MaxWall,QOS,DefaultQOS"
)
_QOS: Final = "Name,Flags,GrpTRESMins,GrpJobs,GrpSubmitJobs,MaxWall"
_RESOURCE: Final = "Name,Server,Cluster,Count"
_NAME = re.compile(r"[^\s|,=\"']{1,255}")
_SHUT, _OPEN = ("0", "0"), ("-1", "-1")
_WORDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Refused:
    """A change that Slurm did not take, with its own words; `tried` False: it stopped answering before."""

    change: Change
    why: str
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Accounting:
    """The accounting of one cluster. `program` is sacctmgr's whole path, `conf` its slurm.conf."""

    program: str
    conf: str
    cluster: str
    timeout_s: float = 20

    def read(self) -> Found:
        """Raises `engine.unavailable`, `engine.garbage`."""
        unread: list[str] = []
        accounts = self._accounts(unread)
        qos = {row[0]: _qos(row) for row in self._show(["qos", f"format={_QOS}"], 6, unread)}
        users = self._show(["user", f"cluster={self.cluster}", "format=User,DefaultAccount"], 2, unread)
        defaults = {user: account for user, account in users if account}
        return Found(accounts, qos, defaults, tuple(unread))

    def tracked(self) -> frozenset[str]:
        """The resources that the accounting counts, as `cpu` and `gres/gpu:h100`: only those can be limited."""
        rows = self._show(["tres", "format=Type,Name"], 2, [])
        return frozenset(sort + (f"/{name}" if name else "") for sort, name in rows)

    def make(self, changes: Sequence[Change], done: Callable[[Change], None] = lambda _: None) -> list[Refused]:
        """Makes them in order; one that is refused stops no other. `done` is told each, refused or not.

        A refusal may be no harm (somebody else was faster): what counts is what is read afterwards.
        """
        refused: list[Refused] = []
        for number, change in enumerate(changes):
            try:
                code, _, told = self._run(["-i", *arguments(change, self.cluster)])
            except FabriqueError as error:
                why = str(error.params.get("why", error.code))
                return [*refused, Refused(change, why), *(Refused(c, why, False) for c in changes[number + 1 :])]
            if code:
                refused.append(Refused(change, told))
            done(change)
        return refused

    # --- the watt licence -------------------------------------------------------------------------------------

    def licences(self, name: str) -> int | None:
        """How many there are of the licence `name` for this cluster; None: it was never made."""
        rows = self._show(["resource", "withclusters", f"format={_RESOURCE}"], 4, [])
        counts = [
            _number(n) for found, server, of, n in rows if (found, server, of) == (name, LICENCE_SERVER, self.cluster)
        ]
        return counts[0] if counts else None

    def set_watts(self, name: str, units: int) -> int:
        """Makes `units` watt licences out of what there were, and says how many there are then.

        Fewer than are in use stops nothing that runs: nothing new starts until enough came back. Raises
        `engine.refused`, `engine.unavailable`.
        """
        if not _NAME.fullmatch(name) or units < 0:
            raise ValueError(f"no such licence: {name!r} × {units}")
        before = self.licences(name)
        if before == units:
            return units
        of = f"name={name}", f"server={LICENCE_SERVER}"
        if before is None:
            kind = ["servertype=power", "type=license", f"cluster={self.cluster}", "percentallowed=100"]
            words = ["add", "resource", *of, f"count={units}", *kind]
        else:
            words = ["modify", "resource", "where", *of, "set", f"count={units}"]
        code, _, told = self._run(["-i", *words])
        after = self.licences(name)
        if after != units:
            raise FabriqueError("engine.refused", engine=self.cluster, why=told if code else f"{name}: {after}")
        return units

    # --- calls ------------------------------------------------------------------------------------------------

    def _accounts(self, unread: list[str]) -> dict[str, Account]:
        accounts: dict[str, Account] = {}
        users: dict[str, dict[str, list[bool | None]]] = {}
        theirs: dict[str, dict[str, set[str]]] = {}
        for row in self._show(["assoc", f"cluster={self.cluster}", f"format={_ASSOC}"], 12, unread):
            account, user, _, parent, minutes, jobs, submits, most_jobs, most_submits, wall, qos, default = row
            if user:  # one row for each partition, where the site seats people by partition
                users.setdefault(account, {}).setdefault(user, []).append(_closed(most_jobs, most_submits))
                theirs.setdefault(account, {}).setdefault(user, set()).update(filter(None, qos.split(",")))
            else:
                limits = Limits(_minutes(minutes), _wall(wall), _closed(jobs, submits))
                accounts[account] = Account(account, parent, limits, tuple(filter(None, qos.split(","))), default)
        return {
            name: replace(
                found,
                users={u: _together(seats) for u, seats in users.get(name, {}).items()},
                apart={u: tuple(sorted(own)) for u, own in theirs.get(name, {}).items() if own != set(found.qos)},
            )
            for name, found in accounts.items()
        }

    def _show(self, words: Sequence[str], fields: int, unread: list[str]) -> Iterator[list[str]]:
        """The rows of one table. Raises `engine.unavailable`."""
        code, answer, told = self._run(["-n", "-P", "show", *words])
        if code:
            raise FabriqueError("engine.unavailable", engine=self.cluster, why=told)
        for line in answer.splitlines():
            row = line.split("|")
            if len(row) == fields and row[0]:
                yield [cell.strip() for cell in row]
            elif line.strip():
                unread.append(line[:1_000])

    def _run(self, words: Sequence[str]) -> tuple[int, str, str]:
        """Exit code, output, and the first words of complaint. Raises `engine.unavailable`, `engine.garbage`."""
        if not Path(self.conf).is_file():  # sacctmgr would wait a minute for it
            raise FabriqueError("engine.unavailable", engine=self.cluster, why=f"{self.conf} is not there")
        environment = {"SLURM_CONF": self.conf, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        # A file, not a pipe: whoever prints without end neither blocks us nor fills our memory.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                done = subprocess.run(
                    [self.program, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=environment,
                    timeout=self.timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                why = f"sacctmgr: no answer within {self.timeout_s:g} s"
                raise FabriqueError("engine.unavailable", engine=self.cluster, why=why) from None
            except OSError as error:
                why = f"sacctmgr: {error.strerror}"
                raise FabriqueError("engine.unavailable", engine=self.cluster, why=why) from None
            if out.seek(0, 2) > MOST_BYTES:
                raise FabriqueError("engine.garbage", engine=self.cluster, why="sacctmgr printed without end")
            out.seek(0)
            err.seek(0)
            answer = out.read().decode("utf-8", "replace")
            told = err.read(2_000).decode("utf-8", "replace") or answer[:2_000]
        return done.returncode, answer, _WORDS.sub(" ", told).strip()[:300] or f"sacctmgr ended with {done.returncode}"


# --- what a change is in sacctmgr's words -----------------------------------------------------------------------------


def arguments(change: Change, cluster: str) -> list[str]:
    """The words after `sacctmgr -i`. Raises ValueError for a name that sacctmgr could read as something else."""
    of = f"cluster={cluster}"
    match change:
        case AddQos(name, edit):
            return ["add", "qos", _named(name), "description=fabrique", "flags=NoDecay", *_edits(edit)]
        case AddAccount(name, parent, edit, qos, default):
            who = ["description=fabrique", "organization=fabrique"]
            head = ["add", "account", _named(name), of, f"parent={_word(parent)}", *who]
            return [*head, *_edits(edit), *_qos_words(qos, default)]
        case SetQos(name, edit, keep):
            flags = ["flags+=NoDecay"] if keep else []
            return ["modify", "qos", "where", _named(name), "set", *_edits(edit), *flags]
        case SetAccount(name, edit, parent_name, qos_names, default_name):
            parent_words = [] if parent_name is None else [f"parent={_word(parent_name)}"]
            words = [*_edits(edit), *parent_words, *_qos_words(qos_names or (), default_name or "")]
            return ["modify", "account", "where", _named(name), of, "set", *words]
        case AddUsers(account, logins):
            return ["add", "user", _named(*logins), f"account={_word(account)}", of]
        case SetUsers(account, logins, closed):
            jobs, submits = _SHUT if closed else _OPEN
            where = [_named(*logins), f"account={_word(account)}", of]
            return ["modify", "user", "where", *where, "set", f"MaxJobs={jobs}", f"MaxSubmitJobs={submits}"]
        case ShareQos(account, logins, _):
            return ["modify", "user", "where", _named(*logins), f"account={_word(account)}", of, "set", "QOS="]
        case SetDefault(login, account):
            return ["modify", "user", "where", _named(login), of, "set", f"DefaultAccount={_word(account)}"]


def _named(*names: str) -> str:
    return "name=" + ",".join(_word(name) for name in names)


def _word(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name in Slurm: {name!r}")
    return name


def _edits(edit: Edit) -> list[str]:
    words = []
    if edit.minutes:
        parts = (f"{tres}={-1 if minutes is None else minutes}" for tres, minutes in edit.minutes.items())
        words.append("GrpTRESMins=" + ",".join(parts))
    if edit.wall is not None:
        words.append(f"MaxWall={edit.wall or -1}")
    if edit.closed is not None:
        jobs, submits = _SHUT if edit.closed else _OPEN
        words += [f"GrpJobs={jobs}", f"GrpSubmitJobs={submits}"]
    return words


def _qos_words(qos: Sequence[str], default: str) -> list[str]:
    words = ["QOS=" + ",".join(_word(name) for name in qos)] if qos else []
    return [*words, f"DefaultQOS={_word(default)}"] if default else words


# --- what sacctmgr prints ---------------------------------------------------------------------------------------------


def _qos(row: Sequence[str]) -> Qos:
    name, flags, minutes, jobs, submits, wall = row
    return Qos(name, Limits(_minutes(minutes), _wall(wall), _closed(jobs, submits)), "NoDecay" not in flags.split(","))


def _closed(jobs: str, submits: str) -> bool | None:
    """Both limits 0 is closed, none of them is open; any other number is the site's own and leaves it open."""
    shut = (jobs == "0", submits == "0")
    return None if len(set(shut)) == 2 else shut[0]


def _together(seats: Sequence[bool | None]) -> bool | None:
    return seats[0] if len(set(seats)) == 1 else None


def _minutes(text: str) -> Mapping[str, int]:
    """`cpu=100,gres/gpu:h100=60`; what is no number is left out, and so will be set anew."""
    parts = (part.rpartition("=") for part in text.split(",") if part)
    return {tres: minutes for tres, _, number in parts if (minutes := _number(number)) is not None}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _wall(text: str) -> int | None:
    """`1-02:03:00` as minutes, rounded up; None: no limit."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    numbers = [_number(p) for p in ([days] if days else ["0"]) + parts]
    if len(parts) != 3 or None in numbers:
        return None
    d, h, m, s = (n or 0 for n in numbers)
    return (d * 24 + h) * 60 + m + (s > 0)
