"""Landlock (landlock(7)): a process gives up, for itself and all its children, the files it does not need.

Landlock does not (yet) mediate connecting to a Unix socket by its path, by which a job could ask a service of its
user to act outside; so a seccomp(2) filter takes away making such sockets, and io_uring, which could make them unseen.

Imported by the shim's keeper: the standard library only, and little of it.
"""

# Pathlib alone would take a fifth of the time the shim has to start.
# ruff: noqa: PTH112

from __future__ import annotations

import ctypes
import os
import platform
import struct

from fabrique.engines.kernel import libc, no_new_privileges

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1
_HANDLED_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # by ABI; 5 and later: 16

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_RET_ALLOW, _RET_EPERM = 0x7FFF0000, 0x00050001
_AF_UNIX, _IO_URING_SETUP = 1, 425
# machine -> (audit architecture, number of socket(2), smallest number of another calling convention)
_CALLS = {"x86_64": (0xC000003E, 41, 0x40000000), "aarch64": (0xC00000B7, 198, 0xFFFFFFFF)}


def abi() -> int:
    """The kernel's Landlock version; 0 when there is none, or no filter for this machine."""
    version = int(libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    return version if version > 0 and platform.machine() in _CALLS else 0


def restrict(readable: list[str], writable: list[str], devices: list[str]) -> None:
    """Keep only these: `readable` to read and execute, `writable` for everything, `devices` to read, write, control.

    A path that is not there is passed over. With ABI 6 or later signals and abstract sockets end at the job's border.
    """
    version = abi()
    handled = (1 << _HANDLED_BITS.get(version, 16)) - 1
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0
    attributes = struct.pack("=QQQ", handled, 0, scoped)[: 24 if version >= 6 else 8]
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in readable:
            _allow(ruleset, path, _READ | _EXECUTE | _LIST)
        for path in writable:
            _allow(ruleset, path, handled)
        for path in devices:
            _allow(ruleset, path, (_READ | _WRITE | _LIST | _TRUNCATE | _IOCTL) & handled)
        no_new_privileges()
        _call(_RESTRICT, ruleset, ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    _refuse_unix_sockets()


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            access &= _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
        rule = struct.pack("=Qi", access, descriptor)
        _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _refuse_unix_sockets() -> None:
    """socket(AF_UNIX, ...) and io_uring_setup answer EPERM, and so does every call of another convention."""
    architecture, socket, foreign = _CALLS[platform.machine()]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    steps = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 0, 7, architecture),
        (load, 0, 0, 0),  # seccomp_data.nr
        (at_least, 5, 0, foreign),
        (equal, 4, 0, _IO_URING_SETUP),
        (equal, 0, 2, socket),
        (load, 0, 0, 16),  # seccomp_data.args[0], low half
        (equal, 1, 0, _AF_UNIX),
        (answer, 0, 0, _RET_ALLOW),
        (answer, 0, 0, _RET_EPERM),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _call(number: int, *arguments: object) -> int:
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
    return result
