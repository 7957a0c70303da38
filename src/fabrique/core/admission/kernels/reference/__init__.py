"""The decision as plainly as it can be written: objects, lists, everything counted again at every question.

It is what the compiled kernel must equal, and shares no phase with it. Nothing here is quick; nothing here imports
Numba. Start with `decide.step`; `model` has the things, `questions` what is free and used.
"""

from fabrique.core.admission.kernels.reference.decide import step
from fabrique.core.admission.kernels.reference.events import advance, end, ready
from fabrique.core.admission.kernels.reference.model import Decision, Job, Run, World
from fabrique.core.admission.kernels.reference.replay import replay
from fabrique.core.admission.kernels.reference.tables import canonical, digest, read, write

__all__ = [
    "Decision",
    "Job",
    "Run",
    "World",
    "advance",
    "canonical",
    "digest",
    "end",
    "read",
    "ready",
    "replay",
    "step",
    "write",
]
