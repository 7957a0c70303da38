"""The decision: `step(rows, rules, now_ms) -> Plan`, the same live and in the twin.

`state` is what is known, as rows with names; `rules` what is wanted, as data; `plan` what shall be done, with a reason
for every job that is not started. `prepare` turns rows into the `tables` of the compiled decision (`kernels`), and
`decide` its answer into a plan; `explain` says what would start a job sooner. Start with `decide.step`.
"""

from fabrique.core.admission.decide import step
from fabrique.core.admission.plan import Plan, Preempt, Recap, Start, Wait
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import History, Rows

__all__ = ["History", "Plan", "Preempt", "Recap", "Rows", "Rules", "Start", "Wait", "step"]
