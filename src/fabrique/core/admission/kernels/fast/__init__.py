"""The compiled kernel: the decision of every rule set, live and in the twin, over the tables of `admission.tables`.

Here alone Numba is imported. `step` is the table of contents; `decide` calls it once, `replay` along a trace.
What it decides is defined by `kernels.reference`, which shares no code with it; a test holds them equal.
"""

from fabrique.core.admission.kernels.fast.decide import (
    Decision,
    advance,
    decide,
    end,
    load,
    ready,
)

__all__ = ["Decision", "advance", "decide", "end", "load", "ready"]
