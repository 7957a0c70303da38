"""The certificate of a replay: one hash over its rules, its inputs and the code that replayed it.

Equal certificates mean equal results but for the timings; whoever repeats a replay compares them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path

import fabrique
from fabrique.core.admission.rules import Rules

_ROOMS = ("core/admission", "twin")


def certificate(
    rules: Rules, trace: str, fleet: str, grids: Sequence[str], options: Mapping[str, object], code: str | None = None
) -> str:
    """SHA-256 of the canonical text; `trace`, `fleet` and `grids` are digests, `code` (None: this code's) another."""
    text = json.dumps(
        {
            "code": code or code_digest(),
            "fleet": fleet,
            "grids": list(grids),
            "options": dict(options),
            "rules": asdict(rules),
            "trace": trace,
        },
        sort_keys=True,
        separators=(",", ":"),
        default=str,
    )
    return sha256(text.encode()).hexdigest()


@cache
def code_digest(root: Path | None = None) -> str:
    """SHA-256 over the sources of the decision and of the twin: each file's path, then its bytes."""
    base = root or Path(fabrique.__file__).parent
    found = sha256()
    for room in _ROOMS:
        for path in sorted((base / room).rglob("*.py")):
            found.update(f"{path.relative_to(base).as_posix()}\0{path.stat().st_size}\0".encode())
            found.update(path.read_bytes())
    return found.hexdigest()
