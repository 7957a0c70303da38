"""Free ports in a row, and whether somebody answers at one."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import Final

ADDRESS: Final = "127.0.0.1"
LOWEST, HIGHEST = 10_000, 60_000
RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def usable() -> list[range]:
    """Where the system puts no outgoing connection, which could take a port before its daemon does.

    Some machines give out almost all: then anywhere, and a start that met one is tried again.
    """
    try:
        low, high = (int(word) for word in RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        low, high = HIGHEST, HIGHEST
    wide = [range(LOWEST, min(low, HIGHEST)), range(max(high + 1, LOWEST), HIGHEST)]
    return [part for part in wide if len(part) > 500] or [range(LOWEST, HIGHEST)]


def free(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on just now. OSError where there are none."""
    for _ in range(200):
        part = secrets.choice(usable())
        base = secrets.choice(range(part.start, part.stop - count, 10))
        if all(_is_free(base + n) for n in range(count)):
            return base
    raise OSError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
        return True


def answers(port: int, address: str = ADDRESS) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def answers_at(path: Path, *, greets: bool = False) -> bool:
    """Whether somebody listens at a local socket; `greets`: and speaks first."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
            return not greets or bool(probe.recv(1))
        except OSError:
            return False
