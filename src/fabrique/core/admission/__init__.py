"""The decision: `step(state, rules, now_ms) -> Plan`, the same live and in the twin.

`state` is what is known, as arrays; `rules` what is wanted, as data; `plan` what shall be done, with a reason for
every job that is not started. `decide` holds the phases, in the order they run. Start with `decide.step`.
"""

from fabrique.core.admission.decide import step
from fabrique.core.admission.plan import Plan, Start, Wait
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import State, build

__all__ = ["Plan", "Rules", "Start", "State", "Wait", "build", "step"]
