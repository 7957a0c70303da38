"""Compile the decision once for this machine: a start then loads it from the disk in less than a second.

Usage: python tools/warm.py [live]   (live: what the control loop needs; else the twin's replay too)
"""

from __future__ import annotations

import sys
import time


def main() -> None:
    from fabrique.core.admission.kernels.fast import entries

    parts = {
        "the decision": (entries.advance, entries.step, entries.make_ready, entries.finish),
        "the twin's replay": (entries.run_twin, entries.run_plain),
    }
    for name in list(parts)[: 1 if "live" in sys.argv[1:] else None]:
        print(f"env: compiling {name} for this machine (about half a minute, once)", flush=True)
        before = time.monotonic()
        entries.load(*parts[name])
        print(f"env: {name}: {time.monotonic() - before:.0f} s", flush=True)


if __name__ == "__main__":
    main()
