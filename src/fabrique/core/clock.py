"""Instants against a clock that may be set back."""

from __future__ import annotations


def has_passed(since_ms: int, length_ms: int, *, now: int) -> bool:
    """Whether so long went by since then. An instant ahead was written before the clock was set back: it is past."""
    return not 0 <= now - since_ms < length_ms
