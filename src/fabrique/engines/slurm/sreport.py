"""What Slurm's accounting has rolled up of its accounts, hour by hour: a second source beside the jobs themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm import running

HOUR_MS: Final = 3_600_000
CORES, DEVICES = "cpu", "gres/gpu"
_TIMEOUT_S: Final = 60.0


def by_account(conf: Path, binaries: Path, cluster: str, since_ms: int, until_ms: int) -> dict[tuple[str, str], int]:
    """(account, `cpu` or `gres/gpu`) -> allocated seconds of its own users over [since, until), whole hours of UTC.

    Raises `engine.unavailable`, `engine.garbage`.
    """
    command = [
        str(binaries / "sreport"), "--noheader", "--parsable2", "-t", "Seconds", "-T", f"{CORES},{DEVICES}",
        "cluster", "AccountUtilizationByUser", f"cluster={cluster}", f"start={_iso(since_ms)}",
        f"end={_iso(until_ms)}", "format=Account,Login,TRESName,Used",
    ]  # fmt: skip
    ran = running.run(command, {"LC_ALL": "C", "TZ": "UTC", "SLURM_CONF": str(conf)}, _TIMEOUT_S)
    if ran.code:
        raise FabriqueError("engine.unavailable", why=ran.why)
    return read(ran.output)


def read(output: bytes) -> dict[tuple[str, str], int]:
    """Rows of `account|login|resource|seconds`; those without a login are sums. Raises `engine.garbage`."""
    found: dict[tuple[str, str], int] = {}
    for line in output.decode("utf-8", "replace").splitlines():
        if not line.strip():
            continue
        account, *rest = line.split("|")
        if len(rest) != 3 or not rest[2].isdecimal() or len(rest[2]) > 18:
            raise FabriqueError("engine.garbage", why=f"sreport: {line[:80]!r}")
        login, resource, used = rest
        if login and resource in (CORES, DEVICES):
            found[account, resource] = found.get((account, resource), 0) + int(used)
    return found


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
