"""From the names that vendors' tools print to the ids of our accelerator catalogue.

A name that is not here is unknown: it is shown as it is and never taken for its nearest neighbour (an "H100 PCIe" is
not an `h100-sxm`: its power limit is half).
"""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"NVIDIA A100-SXM4-80GB", "a100-80"),
        (r"NVIDIA L40S", "l40s"),
        (r"NVIDIA H100 80GB HBM3", "h100-sxm"),
        (r"NVIDIA H200", "h200-sxm"),
        (r"NVIDIA GH200( 480GB)?", "gh200"),
        (r"NVIDIA B200", "b200"),
        (r"NVIDIA GB200", "gb200"),
        (r"AMD Instinct MI250X.*", "mi250x"),
        (r"AMD Instinct MI300X.*", "mi300x"),
        (r"AMD Instinct MI325X.*", "mi325x"),
        (r"AMD Instinct MI355X.*", "mi355x"),
        (r"HL-225\w*", "gaudi2"),
        (r"HL-325\w*", "gaudi3"),
        (r"Intel\(R\) Data Center GPU Max 1550", "max1550"),
    )
)


def kind_of_name(name: str) -> str | None:
    """The catalogue's id for a device's printed name, or None."""
    return next((kind for pattern, kind in _NAMES if pattern.fullmatch(name.strip())), None)
