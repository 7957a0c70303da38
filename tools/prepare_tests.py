"""See to the parts that tests drive and Python cannot bring: Chromium, PostgreSQL, bubblewrap, fonts.

As root on Debian it installs what is missing, saying so. Otherwise it says what is missing and what that
leaves untested. Exit code 1 only when a part is missing and CI=true.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import postgres


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    package: str  # Debian's
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
)


def absent() -> list[Part]:
    return [part for part in PARTS if not part.here()]


def apt(*arguments: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-q", "-y", *arguments], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"prepare: apt-get {arguments[0]} failed:\n{done.stderr.strip()[-800:]}", flush=True)
    return done.returncode == 0


def install(parts: list[Part]) -> None:
    packages = [part.package for part in parts]
    print(f"prepare: installing with apt-get: {' '.join(packages)}", flush=True)
    if apt("update"):
        apt("install", "--no-install-recommends", *packages)


def main() -> int:
    parts = absent()
    if parts and os.geteuid() == 0 and shutil.which("apt-get"):
        install(parts)
        parts = absent()
    for part in parts:
        print(f"prepare: {part.name} is missing (Debian: {part.package}); without it, not tested: {part.used_for}")
    return 1 if parts and os.environ.get("CI", "").lower() == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
