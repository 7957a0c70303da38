"""Budgets as pages show them: what is still bookable is never rounded up."""

from __future__ import annotations

from dataclasses import replace

from fabrique.apps.access.queries import BudgetLine
from fabrique.core.units import scale


def rounded_down(line: BudgetLine) -> BudgetLine:
    """What is bookable, down to the hundredth that is shown: 9.9967 hours are not 10."""
    hundredth = scale(line.unit) // 100
    if line.bookable is None or line.bookable < 100 * hundredth:
        return line
    return replace(line, bookable=line.bookable - line.bookable % hundredth)
