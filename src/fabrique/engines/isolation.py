"""Which wall stands between a job and the hub on this machine: decided once, by trying it.

- *own-user* (the hub runs as root): each project's jobs run under their own number, in their own view of the files and
  their own process space where the machine allows it;
- *bubblewrap*, *landlock* (the hub runs as an ordinary user): jobs run as that user, with the home away;
- *none*: nothing here can separate them. Such a deployment is for a single trusted user.
"""

# Views are made of texts: they go to system calls, arguments and JSON.
# ruff: noqa: PTH110, PTH112

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from fabrique.core.errors import FabriqueError
from fabrique.engines import landlock, records, view
from fabrique.engines.launch import SHIM_LOG, SOURCE, launch_and_wait, python

Kind = Literal["own-user", "bubblewrap", "landlock", "none"]

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - each run gets its own in its place
TRIAL_UID: Final = 200_000
_TRIAL_S: Final = 20
# Succeeds only when the job works in its own folder and sees nothing of the hub's.
_TRIAL: Final = """#!/bin/sh
cat "$SECRET" >/dev/null 2>&1 && exit 3
( : >"$RECORD" ) 2>/dev/null
echo works >"$TMPDIR/mine" && read -r line <"$TMPDIR/mine" && test "$line" = works || exit 5
"""


@dataclass(frozen=True, slots=True)
class Isolation:
    """`why` says in a few words what holds and what does not; `exposed` stays readable to jobs."""

    kind: Kind
    why: str
    home: Path
    exposed: tuple[Path, ...] = ()
    own_view: bool = False

    @property
    def single_user(self) -> bool:
        """Whether jobs of people who do not trust each other must be refused."""
        return self.kind == "none"

    def order(self, work: Path, uid: int | None, with_devices: bool) -> dict[str, Any]:
        """How the shim and the keeper are to set one run apart: parts of the order and of its plan.

        Raises `engine.refused` when a run needs its own user and has none.
        """
        parts: dict[str, object] = {"own_processes": False, "command": None, "inside": 0}
        plan: dict[str, object] = {"steps": [], "uid": None, "landlock": None}
        here = os.path.realpath(work)
        if self.kind == "own-user":
            if uid is None or uid <= 0:
                raise FabriqueError("engine.refused", why="no-user")
            plan["uid"] = uid
            plan["steps"] = self._mounts(here) if self.own_view else []
            parts["own_processes"] = self.own_view
        elif self.kind == "bubblewrap":
            steps = view.steps(self._covered(), self._exposed(), here)
            sandbox = [_bubblewrap() or "bwrap", *view.sandbox(steps, with_devices), "--"]
            parts |= {"command": [*sandbox, *python("keeper", "keeper.main()")], "inside": 1}
        elif self.kind == "landlock":
            plan["landlock"] = view.fence(self._covered(), self._exposed(), here, with_devices)
        return {**parts, "plan": plan}

    def _mounts(self, work: str) -> list[view.Step]:
        covered = {os.path.realpath(self.home)}
        covered |= {path for path in map(view.blocked, [work, *self._exposed()]) if path}
        shared: view.Step = {"cover": SHARED_MEMORY, "mode": "1777", "writable": True}
        return [*view.steps(covered, self._exposed(), work), *([shared] if os.path.isdir(SHARED_MEMORY) else [])]

    def _covered(self) -> list[str]:
        """The hub's home, the home of the user it runs as (keys, start-up files), and the sockets of services."""
        own = os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)
        others = [path for path in (own, "/root", "/run") if path != "/" and os.path.isdir(path)]
        return [os.path.realpath(self.home), *others]

    def _exposed(self) -> list[str]:
        paths = [*self.exposed, Path(SOURCE)] if self.kind == "bubblewrap" else self.exposed
        return [os.path.realpath(path) for path in paths if os.path.exists(path)]


def detect(home: Path, exposed: Sequence[Path] = ()) -> Isolation:
    """The strongest wall that works here, tried for real with a small job in `home` (which must exist)."""
    refusals: list[str] = []
    for candidate in _candidates(home, tuple(exposed)):
        trouble = _try(candidate) if candidate.own_view or candidate.kind != "own-user" else _try_ajar(candidate)
        if trouble is None:
            return replace(candidate, why="; ".join([candidate.why, *refusals]))
        refusals.append(f"{candidate.kind}{' with its own view of files' if candidate.own_view else ''}: {trouble}")
    return Isolation("none", "; ".join(["single trusted user", *refusals]), home, tuple(exposed))


def _candidates(home: Path, exposed: tuple[Path, ...]) -> list[Isolation]:
    if os.geteuid() == 0:
        plain = "jobs run as their own users; the home must let them pass (0711) and no further"
        return [
            Isolation("own-user", "jobs run as their own users and do not see the home", home, exposed, True),
            Isolation("own-user", plain, home, exposed),
        ]
    found = []
    if _bubblewrap():
        found.append(Isolation("bubblewrap", "jobs run in bubblewrap and do not see the home", home, exposed))
    if version := landlock.abi():
        scope = "" if version >= 6 else ", but may signal the hub (kernel before 6.12)"
        found.append(Isolation("landlock", f"jobs run under Landlock {version} without the home{scope}", home, exposed))
    return found


def _bubblewrap() -> str | None:
    return shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")


def _try(candidate: Isolation) -> str | None:
    """What went wrong with a small job under this isolation; None when all is well."""
    folder = Path(tempfile.mkdtemp(prefix=".trial-", dir=candidate.home))
    try:
        secret, run = folder / "secret", folder / "trial-run"
        run.mkdir()
        folder.chmod(0o711)
        records.write(str(secret), {})
        records.write(str(run / records.ORDER), _trial_order(candidate, run, secret))
        before = (run / records.ORDER).read_bytes()
        launch_and_wait(run, _TRIAL_S)
        record = records.read(str(run / records.EXIT)) or {}
        if (run / records.ORDER).read_bytes() != before:
            return "a job can write the records of its run"
        if record.get("exit_code") == 0:
            return None
        said = (run / SHIM_LOG).read_text(errors="replace").strip().rpartition("\n")[2]
        return str(record.get("error") or said or f"the trial job ended with {record.get('exit_code')}")[:200]
    except (OSError, FabriqueError, records.BrokenRecordError) as error:
        return str(error)[:200]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try_ajar(candidate: Isolation) -> str | None:
    """Try with the home open for passing (0711), and leave it so only when that is good enough."""
    before = stat.S_IMODE(candidate.home.stat().st_mode)
    with os.scandir(candidate.home) as entries:
        bare = sorted(entry.name for entry in entries if entry.stat(follow_symlinks=False).st_mode & 0o007 & ~0o001)
    if bare:
        return f"{bare[0]} in the home is open to others"
    candidate.home.chmod(0o711)
    trouble = _try(candidate)
    if trouble is not None:
        candidate.home.chmod(before)
    return trouble


def _trial_order(candidate: Isolation, run: Path, secret: Path) -> dict[str, object]:
    work = str(run / records.WORK)
    parts = candidate.order(Path(work), TRIAL_UID, with_devices=False)
    plan: dict[str, object] = {"cores": [], "work": work, "program": f"{work}/{records.SCRIPT}"}
    plan["environment"] = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        records.MARK: str(run),
        "SECRET": str(secret),
        "RECORD": str(run / records.ORDER),
        "TMPDIR": f"{work}/{records.TEMPORARY}",
    }
    limits = {"walltime": 10_000, "lead": 0, "grace": 500, "memory": None, "warning": None, "output_limit": 65_536}
    parts |= {"script": b2a_base64(_TRIAL.encode()).decode(), "plan": {**parts.pop("plan"), **plan}}
    return {**limits, **parts}
