"""The clock of the services: UTC milliseconds. Passed on as an argument, so that a test can stand still."""

from __future__ import annotations

import time


def now_ms() -> int:
    return time.time_ns() // 1_000_000
