"""Every reason in one sentence. The codes are those of `core.reasons`; `code?name` is said when `name` is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fabrique.language.marks import msg
from fabrique.language.parameters import Between, Params, filled, whole

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

SENTENCES: Final[dict[str, str]] = {
    # a job waits
    "wait.accelerators": msg("Waiting for accelerators on {partition}: {asked} asked, {free} free."),
    "wait.cores": msg("Waiting for cores on {partition}: {asked} asked, {free} free."),
    "wait.memory": msg("Waiting for memory on {partition}: {asked_mb} asked, {free_mb} free."),
    "wait.power": msg("Waiting for power at {site}: it may draw {asked_w}, and {free_w} are left under the cap."),
    "wait.budget-held": msg(
        "Waiting for running jobs to give back what they hold: {asked} asked, {available} still bookable."
    ),
    "wait.behind": msg("Waiting behind job {job}, which was there first."),
    "wait.not-before": msg("Waiting for the time you asked for: not before {time}."),
    "wait.owner": msg("Held by its owner, who says when it may go on."),
    "wait.cluster": msg("The cluster did not start it. {why} It is tried again at {time}."),
    "wait.other-job": msg("Waiting for another job, as you asked the cluster."),
    "wait.array": msg("Waiting for other tasks of its array, which bounds how many run at once."),
    "wait.engine": msg("Waiting for the engine {engine}, which does not answer."),
    "wait.account": msg("Waiting for the project's account on {engine}: its operator makes it."),
    "wait.observe-only": msg("The hub only observes for now: an operator must let it act again."),
    "wait.allocation-start": msg("Waiting for the allocation to begin: {time}."),
    "wait.quota": msg("Waiting for the share {pool}: {asked} asked, {left} left of what it may use."),
    "wait.window": msg("It would still run at {time}, when less will be free: it waits for room after that."),
    "wait.deferred": msg("Put off to {time}: the forecast saves {saved_permille} by then."),
    "wait.not-worth-deferring": msg(
        "Not worth putting off here: waiting would save {saved_permille}, less than the {floor_permille} the hub asks."
    ),
    "wait.backing-off": msg("It was stopped for work that comes first, and is queued again at {time}."),
    "wait.reclaiming": msg("Waiting for job {job} to stop: it gives back what was lent."),
    # a job was placed
    "place.only": msg("Placed on {partition}, the only partition that fits."),
    "place.earliest": msg("Placed on {partition}, where it starts earliest."),
    "place.level": msg("Placed on {partition} at {level} a device, within the slowdown that it tolerates."),
    "place.own-door": msg("It started at {engine}'s own door; the hub counts it since it saw it."),
    # a run is stopped, or its power level set
    "preempt.reclaim": msg("Stopped so that the share {pool} gets back what it lent, for job {job}."),
    "preempt.power": msg("Stopped because the power cap of {site} fell."),
    "recap.power": msg("Set to {level} a device because the power cap of {site} fell."),
    # a job is refused: it could never start as it stands
    "refuse.no-partition": msg("No connected partition has {kind}."),
    "refuse.no-partition?kind": msg("No connected partition fits this job."),
    "refuse.too-large": msg("Too large for {partition} ({resource}): {asked} asked, {most} at most."),
    "refuse.budget": msg("The budget does not suffice: {asked} needed, {available} still bookable."),
    "refuse.allocation-ended": msg("The allocation ends on {time}, before this job could end."),
    "refuse.no-budget-in-kind": msg("The project has no hours in {kind}."),
    "refuse.power": msg("It may draw {asked_w}; the cap allows {most_w} at most."),
    "refuse.deadline": msg("It can't end in time: the latest start was {latest_start}."),
    "refuse.sovereignty": msg("The dataset {dataset} may not be used here: {rule}."),
    "refuse.no-walltime": msg("It has no time limit: give it one (sbatch --time)."),
    # quarantined: it ran, and nobody can be charged for it yet
    "quarantine.account": msg("No project of this hub has the account {account}."),
    "quarantine.account?account": msg("It names no account: sbatch --account=…"),
    "quarantine.allocation": msg("The project {project} has no allocation."),
    "quarantine.partition": msg("The hub does not serve the partition {partition}."),
    "quarantine.unreadable": msg("What the accounting says can't be read: {why}."),
    "quarantine.runaway": msg("The accounting says it runs; the queue has not known it since {since}."),
    # how a run ended
    "end.completed": msg("It ended by itself, without an error."),
    "end.failed": msg("The script ended with exit code {exit_code}."),
    "end.signalled": msg("The script was ended by signal {signal}."),
    "end.cancelled": msg("It was cancelled at a member's request."),
    "end.cancelled-there": msg("It was cancelled on the cluster itself, not through the hub."),
    "end.walltime": msg("It was stopped at the end of its walltime of {walltime_ms}."),
    "end.memory": msg("It was stopped for using more than its {limit_mb} of memory."),
    "end.output": msg("It was stopped for writing more than its {limit_bytes} of output."),
    "end.preempted": msg("It gave way to work that comes first, and waits again."),
    "end.requeued": msg("It was put back into the cluster's queue before its end, and waits again."),
    "end.lost": msg("The engine no longer knows it; it was last seen on {last_seen}."),
    "end.lost?last_seen": msg("The engine no longer knows it; it was never seen running."),
    "end.node-failed": msg("Its node died under it."),
    "end.not-started": msg("It never started: {error}."),
    "end.no-interpreter": msg("It never started: {interpreter}, named on the script's first line, can't be run here."),
    # given back
    "refund.hub-failure": msg("Refunded: the hub failed ({cause})."),
    "refund.reclaim": msg("Refunded: the work was lost when the share {pool} took back what it had lent."),
    "refund.correction": msg("Corrected: {note}"),
    "correct.accounting": msg("Corrected to what the accounting of {engine} says."),
    "rebate.power-level": msg(
        "Rebate for {level} a device: it ran at {throughput_permille} of full speed, and the rest is given back."
    ),
    # eligibility
    "eligible.organisation-kind": msg("Your organisation is: {kind}. This mode is for: {accepted}."),
    "eligible.organisation-kind?kind": msg("What kind of organisation is yours? This mode is for: {accepted}."),
    "eligible.country": msg("Your organisation is established in {country}. This mode is open to {accepted}."),
    "eligible.country?country": msg("Where is your organisation established? This mode is open to {accepted}."),
    "eligible.country-association": msg("An officer checks whether {country} is associated at this moment."),
    "eligible.size": msg("You ask for {asked} hours; this mode gives from {least} to {most}, in {unit}."),
    "eligible.size?least": msg("You ask for {asked} hours; this mode gives {most} at most, in {unit}."),
    "eligible.size?most": msg("You ask for {asked} hours; this mode gives {least} at least, in {unit}."),
    "eligible.size-not-published": msg("How much this mode gives in {unit} is not published: an officer decides."),
    "eligible.size-not-published?unit": msg("How much do you need, and of what?"),
    "eligible.duration": msg("Months you ask for: {months}; this mode gives {accepted}."),
    "eligible.duration?months": msg("For how many months? This mode gives {accepted}."),
    "eligible.duration?accepted": msg("How long this mode lasts is not published: an officer decides."),
    "eligible.mode-open": msg("This mode is open until {until}."),
    "eligible.mode-open?until": msg("This mode is open; no end is published."),
    "eligible.mode-closed": msg("This mode takes no applications now ({status})."),
    "eligible.cut-off": msg("The next cut-off is {cut_off}."),
    "eligible.cut-off?cut_off": msg("The next cut-off is not published yet."),
    "eligible.kind-connected": msg("Connected to this hub: {kind}."),
    "eligible.kind-connected?kind": msg("On which kind of accelerator, core or QPU?"),
    "eligible.capacity": msg("You ask for {asked}; the pool can still award {available}."),
    "eligible.capacity?asked": msg("How much do you need?"),
    "eligible.capacity?available": msg("What the pool can still award is not known: an officer decides."),
    "eligible.civilian": msg("The work is for civilian purposes only: {answer}."),
    "eligible.civilian?answer": msg("Is the work for civilian purposes only?"),
    "eligible.ethics": msg("Questions of the ethics self-assessment left open: {missing}."),
    "eligible.ethics?missing": msg("The ethics self-assessment is complete."),
    "eligible.ethics-to-explain": msg("An officer reads your explanations on: {questions}."),
    "eligible.inference": msg("You plan {asked} hours of inference; this mode allows {most}."),
    "eligible.inference?asked": msg("How many of the hours are for inference?"),
    "eligible.inference?most": msg("How many hours in all? The share for inference follows from it."),
    "eligible.staff": msg("Your organisation has {staff} staff; this mode allows {most}."),
    "eligible.staff?staff": msg("How many people work in your organisation? This mode allows {most}."),
    "eligible.turnover": msg("Your organisation's turnover is {turnover}; this mode allows {most}."),
    "eligible.turnover?turnover": msg("What is your organisation's yearly turnover? This mode allows {most}."),
    "eligible.age": msg("Your organisation is {years} years old; this mode allows less than {most}."),
    "eligible.age?years": msg("When was your organisation founded? This mode allows less than {most} years."),
    "eligible.data-class": msg("Data of class {data_class}: {rule}."),
    "eligible.data-class?rule": msg("Where data of class {data_class} may go is judged by an officer."),
    "eligible.data-class?data_class": msg("How sensitive is the data?"),
    "eligible.once": msg("An organisation is awarded under this mode once."),
    "eligible.open-award": msg(
        "While an organisation has time under this mode, a person decides whether it gets more."
    ),
    "eligible.commercial-cap": msg("You ask for {asked}; the yearly cap on commercial use leaves {left}."),
    "eligible.commercial-cap?asked": msg("How much do you need? Commercial use has a yearly cap."),
    "eligible.commercial-cap?left": msg(
        "What the yearly cap on commercial use leaves is not known: an officer decides."
    ),
    # decisions on an application
    "decide.automatic": msg("Decided at once: every rule of the mode is met."),
    "decide.officer": msg("Accepted by an officer: {note}"),
    "decide.officer?note": msg("Accepted by an officer."),
    "decide.refused": msg("Refused by an officer: {note}"),
    "decide.refused?note": msg("Refused by an officer."),
    "decide.ineligible": msg("Not eligible under this mode: {rules}."),
    "decide.withdrawn": msg("Withdrawn by the applicant."),
    # sovereignty
    "sovereign.class": msg("Class of the data: {data_class}."),
    "sovereign.public": msg("The data is public: it may be used anywhere."),
    "sovereign.same-jurisdiction": msg("The data stays under the law it comes from ({jurisdiction})."),
    "sovereign.leaves-jurisdiction": msg("The data would leave {origin} for {site}, without an agreement."),
    "sovereign.agreement": msg("An agreement allows data from {origin} at {site} until {until}."),
    "sovereign.agreement?until": msg("An agreement allows data from {origin} at {site}; it has no end date."),
    "sovereign.foreign-reach": msg("Reach of foreign law over {entity}: {nexus}."),
    "sovereign.unknown": msg("Not known, hence not allowed without a person's decision: {attribute}."),
    # rights
    "right.collector": msg("You collect the hub's metrics, with its token or from its own machine."),
    "right.own": msg("It is your own."),
    "right.role": msg("You hold the role: {role}."),
    "right.member": msg("You are a member of the project {project}."),
    "right.none": msg("None of your roles and projects gives this right."),
    "right.separation": msg("You may not decide on this: you are its {other}."),
}
_SPECIAL: Final[dict[str, dict[str, str]]] = {
    "wait.cluster": {"why": "slurm"},
    "wait.accelerators": {"asked": "thousandths", "free": "thousandths"},
    "wait.cores": {"asked": "thousandths", "free": "thousandths"},
    "wait.budget-held": {"asked": "amount", "available": "amount"},
    "refuse.too-large": {"asked": "of-resource", "most": "of-resource"},
    "refuse.budget": {"asked": "amount", "available": "amount"},
    "refund.hub-failure": {"cause": "word:cause"},
    "eligible.organisation-kind": {"kind": "word:organisation", "accepted": "words:organisation"},
    "eligible.country": {"accepted": "countries"},
    "eligible.duration": {"accepted": "numbers"},
    "eligible.mode-closed": {"status": "word:mode-status"},
    "eligible.capacity": {"asked": "amount", "available": "amount"},
    "eligible.commercial-cap": {"asked": "duration", "left": "duration"},
    "eligible.civilian": {"answer": "word:yes-no"},
    "eligible.ethics": {"missing": "words:ethics"},
    "eligible.ethics-to-explain": {"questions": "words:ethics"},
    "decide.ineligible": {"rules": "words:rule"},
    "right.separation": {"role": "word:role", "other": "word:role"},
    "wait.behind": {"job": "text"},
    "wait.quota": {"asked": "thousandths", "left": "thousandths"},
    "wait.reclaiming": {"job": "text"},
    "preempt.reclaim": {"job": "text"},
}


_QUANTITIES: Final = frozenset("asked asked_w asked_mb free free_w free_mb available left".split())


def alike(code: str, params: Params) -> tuple[str, ...]:
    """The same for reasons that one sentence says: they differ in quantities alone."""
    return (code, *(f"{k}={v}" for k, v in sorted(params.items()) if k not in _QUANTITIES or whole(v) is None))


def shared(speaker: Speaker, code: str, many: Sequence[Params]) -> str:
    """One sentence for reasons that are alike: a quantity in which they differ is said from the least to the most."""
    params = dict(many[0])
    for name in _QUANTITIES & params.keys():
        values = [number for one in many if (number := whole(one.get(name))) is not None]
        if len(values) == len(many):
            params[name] = Between(min(values), max(values))
    return sentence(speaker, code, params)


def sentence(speaker: Speaker, code: str, params: Params) -> str:
    return filled(speaker, SENTENCES, code, params, _SPECIAL.get(code, {}))
