"""See to the parts that tests drive and Python cannot bring: Chromium, PostgreSQL, bubblewrap, fonts, Slurm.

As root on Debian it installs what is missing, saying so. Otherwise it says what is missing and what that
leaves untested. Exit code 1 only when a part is missing and CI=true.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import postgres
from slurm_lab import packages as slurm

POLICY = Path("/usr/sbin/policy-rc.d")  # asked by Debian's packages whether they may start their services
NO_SERVICE = "#!/bin/sh\nexit 101\n"


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    package: str  # Debian's; several are parted by spaces
    used_for: str
    here: Callable[[], bool]


def chromium() -> Path | None:
    """Debian's Chromium, or another on PATH; never one that a tool downloads."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((Path(path) for path in found if path), None)


PARTS = (
    Part("Chromium", "chromium", "the tests of pages", lambda: chromium() is not None),
    Part(
        "fonts",
        "fonts-dejavu-core",
        "pages that look as they should",
        lambda: any(Path("/usr/share/fonts").rglob("*.[to]tf")),
    ),
    Part(
        "PostgreSQL",
        "postgresql",
        "the second run of every test that touches tables",
        lambda: postgres.programs() is not None,
    ),
    Part("bubblewrap", "bubblewrap", "the isolation of jobs without root", lambda: shutil.which("bwrap") is not None),
    Part(
        "Lua 5.1 and 5.3",
        "lua5.1 lua5.3",
        "the script that Slurm asks at each submission",
        lambda: all(shutil.which(name) for name in ("lua5.1", "lua5.3")),
    ),
)
SLURM = (
    Part("Slurm", " ".join(slurm.PACKAGES), "all that runs on a real Slurm", lambda: not slurm.missing()),
    Part(
        "a C compiler with Slurm's headers",
        " ".join(slurm.FOR_ENERGY),
        "a job's energy as Slurm itself counts it",
        lambda: not slurm.missing(slurm.FOR_ENERGY),
    ),
    Part("libfaketime", "faketime", "a clock that steps", lambda: shutil.which("faketime") is not None),
)


def absent(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if not part.here()]


def apt(*arguments: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-q", "-y", *arguments], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"prepare: apt-get {arguments[0]} failed:\n{done.stderr.strip()[-800:]}", flush=True)
    return done.returncode == 0


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Packages that bring daemons install them and start none. A machine's own policy stays."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text(NO_SERVICE, encoding="ascii")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def install(parts: Sequence[Part]) -> None:
    packages = [package for part in parts for package in part.package.split()]
    print(f"prepare: installing with apt-get: {' '.join(packages)}", flush=True)
    with no_service_starts():
        if apt("update"):
            apt("install", "--no-install-recommends", *packages)


def provide(parts: Sequence[Part]) -> list[Part]:
    """Install what is missing, where that is ours to do; what is missing still."""
    missing = absent(parts)
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install(missing)
        missing = absent(parts)
    return missing


def main(parts: Sequence[Part] = (*PARTS, *SLURM)) -> int:
    missing = provide(parts)
    for part in missing:
        print(f"prepare: {part.name} is missing (Debian: {part.package}); without it, not tested: {part.used_for}")
    return 1 if missing and os.environ.get("CI", "").lower() == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
