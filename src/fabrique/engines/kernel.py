"""The system calls Python has no name for: prctl(2), unshare(2), mount(2), and a job's own view of the files.

Imported by the shim: the standard library only, and little of it. Every failure is an OSError that says which call.
"""

# Pathlib alone would take a fifth of the time the shim has to start.
# ruff: noqa: PTH103, PTH110, PTH112, PTH120

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_CLONE_NEWNS, _CLONE_NEWPID, _CLONE_NEWIPC = 0x00020000, 0x20000000, 0x08000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


def die_with_parent(number: int) -> None:
    """The kernel sends signal `number` when the parent goes. Forgotten at a change of user: call it after."""
    _check("prctl", libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0))


def become_subreaper() -> None:
    """Orphans below this process become its children."""
    _check("prctl", libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def no_new_privileges() -> None:
    """From here on no setuid program gives anything."""
    _check("prctl", libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def separate_processes() -> None:
    """The next child is process 1 of a space of its own: when it goes, the kernel kills all that is in there."""
    _check("unshare", libc.unshare(_CLONE_NEWPID | _CLONE_NEWIPC))


def arrange(steps: list[dict[str, Any]]) -> None:
    """Give this process a view of the files of its own, step by step.

    A step is `{"cover": PATH, "mode": OCTAL}` (an empty folder of its own, read-only once all is in place unless
    `"writable"`) or `{"bind": SOURCE, "at": PATH, "writable": BOOL}`. Sources are opened before anything is
    covered.
    """
    _check("unshare", libc.unshare(_CLONE_NEWNS))
    mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    sources = [os.open(step["bind"], os.O_PATH | os.O_CLOEXEC) if "bind" in step else -1 for step in steps]
    for step, source in zip(steps, sources, strict=True):
        if "cover" in step:
            mount("tmpfs", step["cover"], "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={step['mode']},size=50%")
        else:
            _bind(source, step["at"], step["writable"])
    for step in steps:
        if "cover" in step and not step.get("writable"):
            mount(None, step["cover"], None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for source in sources:
        if source >= 0:
            os.close(source)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _check(f"mount {target}", libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def _bind(source: int, target: str, writable: bool) -> None:
    origin = f"/proc/self/fd/{source}"
    if os.path.isdir(origin):
        os.makedirs(target, mode=0o755, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    mount(origin, target, None, _MS_BIND | _MS_REC)
    if not writable:
        mount(None, target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _check(call: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
