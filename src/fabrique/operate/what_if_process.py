"""The process of one replay: `python -m fabrique.operate.what_if_process ID`, started by the control loop."""

from __future__ import annotations

import os
import resource
import sys
from typing import Final
from uuid import UUID

CPU_MOST_S: Final = 1_800
NICE: Final = 10  # jobs and the loop go first


def main(arguments: list[str]) -> int:
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_MOST_S, CPU_MOST_S + 30))
    import django

    django.setup()
    from fabrique.operate.what_if import perform

    perform(UUID(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
