"""Every error in one sentence: what is wrong and, where it helps, what to do. Codes are those of `core.errors`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fabrique.language.marks import msg
from fabrique.language.parameters import Params, filled

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

SENTENCES: Final[dict[str, str]] = {
    # units
    "units.mixed": msg("{left} and {right} do not add up: they are two units."),
    "units.unknown": msg("“{unit}” is not a unit this hub counts in."),
    "units.not-a-number": msg("“{text}” is not a number."),
    "units.not-exact": msg("“{text}” is finer than the unit {unit} can count."),
    # definitions and files
    "definition.broken": msg("This definition can't be used: {complaints}"),
    "definition.broken?complaints": msg("This definition can't be used."),
    "definition.missing": msg("There is no definition “{id}”."),
    "definition.missing?id": msg("There is no such definition."),
    "deployment.broken": msg("The deployment file can't be used: {complaints}"),
    "deployment.broken?complaints": msg("The deployment file can't be used."),
    "script.broken": msg("The script can't be taken: {complaints}"),
    "script.broken?complaints": msg("The script can't be taken."),
    # the home of a hub
    "home.missing": msg("There is no hub here yet: make one with `fabrique init`."),
    "home.exists": msg("There is a hub here already: nothing was changed."),
    "home.several": msg("Several hubs are here ({homes}): choose one with --home."),
    "home.broken": msg("The hub's folder can't be used: {file} ({why})."),
    "home.broken?file": msg("The hub's folder can't be used."),
    "home.observe-only": msg("The hub only observes since it was restored: an operator must let it act again."),
    "port.busy": msg("Port {port} is in use: choose another one."),
    "port.refused": msg("This user may not listen on {address}, port {port} ({why})."),
    "file.exists": msg("{file} is there already and stays as it is: choose another name."),
    "program.missing": msg("This needs the program {program}, which is not on this machine."),
    "backup.broken": msg("This is not a whole backup of a hub ({why}); nothing was changed."),
    "backup.broken?why": msg("This is not a whole backup of a hub; nothing was changed."),
    # people and rights
    "right.denied": msg("You may not do this."),
    "sign-in.link-used": msg("This sign-in link was used or is too old: ask for a new one."),
    "sign-in.needed": msg("Sign in first."),
    "invitation.used": msg("This invitation was used or is too old: ask for a new one."),
    "person.login": msg("{login} can't be this person's login: it is somebody else's, root's, or none."),
    "person.missing": msg("There is no such person on this hub."),
    "organisation.missing": msg("There is no such organisation on this hub."),
    # access
    "mode.missing": msg("There is no access mode “{mode}”."),
    "mode.missing?mode": msg("There is no such access mode."),
    "application.missing": msg("There is no such application."),
    "application.field": msg("Something in the application is wrong: {field}."),
    "application.field?field": msg("Something in the application is wrong."),
    "application.state": msg("This can't be done with an application that is {state}."),
    "application.state?state": msg("This can't be done with this application any more."),
    "application.not-eligible": msg("It can't be awarded, for a rule of the mode is not met: {rules}."),
    "application.not-eligible?rules": msg("It can't be awarded, for a rule of the mode is not met."),
    "project.missing": msg("There is no such project."),
    "member.missing": msg("This person is not a member of the project."),
    "member.pi": msg("The principal investigator can't be removed from the project."),
    "allocation.missing": msg("There is no such allocation."),
    "award.no-capacity": msg("The pool {pool} has {available} left; {asked} were asked."),
    "award.kind-not-connected": msg("{kind} is not connected to this hub: nothing can be awarded in it."),
    # ledger
    "ledger.unbalanced": msg("The entry is not balanced in {unit}; nothing was written."),
    "ledger.overdraft": msg("{asked} needed, {available} available; nothing was written."),
    "ledger.hold-missing": msg("There is no such hold."),
    "ledger.hold-settled": msg("This hold is settled already; nothing was written."),
    "ledger.broken": msg("The ledger can't be written: {why}."),
    "ledger.checkpoint-broken": msg("This is not a checkpoint of a ledger: its field “{field}” can't be read."),
    "ledger.rate-missing": msg("No rate is in force for {unit}."),
    # jobs
    "job.missing": msg("There is no such job."),
    "job.array": msg("{array} is an array, and each of its tasks a job. Those that the hub met last: {tasks}."),
    "job.refused": msg("The job is refused: it could never start as it stands."),
    "job.field": msg("The field “{field}” is wrong: {why}."),
    "job.field?why": msg("The field “{field}” is wrong."),
    "job.state": msg("This can't be done with a job that is {state}."),
    "job.state?state": msg("This can't be done with this job any more."),
    "log.outside": msg("Job {job} was submitted to {engine} itself: what it writes is there, where its script says."),
    "log.missing": msg("This job has no log yet."),
    # engines and the loop
    "engine.unavailable": msg("The engine does not answer ({why})."),
    "engine.unavailable?why": msg("The engine does not answer."),
    "engine.refused": msg("The engine refused ({why})."),
    "engine.refused?why": msg("The engine refused."),
    "engine.garbage": msg("The engine answered something nobody can read."),
    "isolation.single-user": msg("This hub runs as a single trusted user and takes no jobs of other people."),
    "cluster.kind": msg("Which accelerator is Slurm's {gres}? Say it: --kind {gres}=KIND."),
    "cluster.kind-form": msg("{given} is no TYPE=KIND: as in h100=h100-sxm."),
    "cluster.uncounted": msg(
        "Slurm's accounting does not count accelerators: nobody could be charged for them. Let slurm.conf say "
        "AccountingStorageTRES=gres/gpu."
    ),
    "cluster.root": msg("A hub that runs as root never runs people's jobs as root: --run-as login."),
    "cluster.connected": msg("This hub runs on {cluster} already: --again reads anew what Slurm says of it."),
    "cluster.busy": msg(
        "Something still runs here, on another engine than {engine}: wait until it ends, or cancel it."
    ),
    "lease.lost": msg("Another control loop has taken over; this one stops."),
    # provisioning of a cluster
    "provision.rule": msg("The naming rule “{rule}” asks for “{word}”, which is unknown."),
    "provision.rule?word": msg("A naming rule can't be used."),
    "provision.none": msg("This hub runs on no Slurm cluster."),
    "provision.files": msg("These files are not what would be generated now: {files}."),
    "provision.files?files": msg("The files are not what would be generated now."),
    # meters and grid
    "meter.unavailable": msg("The meter {meter} does not answer."),
    "meter.unavailable?meter": msg("A meter does not answer."),
    "grid.gap": msg("Nothing is known of the grid zone {zone} at {at_ms}."),
    "grid.gap?at_ms": msg("Nothing is known of the grid zone {zone} at that time."),
    "grid.broken": msg("The series of the grid zone {zone} can't be used: {why}."),
    "grid.file": msg("The grid's file can't be used: {complaints}"),
    "grid.file?complaints": msg("The grid's file can't be used."),
    "grid.zone": msg("A series of {series} does not hold in {zone}."),
    "carbon.zone": msg("A factor of {factor} does not hold in {zone}."),
    "carbon.mixed": msg("Factors of two sorts do not add up: {left} and {right}."),
    # traces and workloads of the twin
    "trace.missing": msg("There is no trace {file}."),
    "trace.unreadable": msg("The trace {file} can't be read: it must be a regular file that you may open."),
    "trace.too-large": msg("The trace {file} is too large: {most} at most."),
    "trace.compressed": msg("The trace {file} is not whole: it can't be decompressed."),
    "trace.encoding": msg("{place}: this is not UTF-8 text."),
    "trace.format": msg(
        "{file} is no trace that can be read: SWF, sacct (with a header, or JSON), Parquet or CSV with a column map."
    ),
    "trace.line": msg("{place}: {found} fields stand where {wanted} should."),
    "trace.value": msg("{place}: {field}: “{value}” can't be used."),
    "trace.column": msg("{file} has no column {column}."),
    "trace.refused": msg("{file} holds an answer with errors instead of jobs: {said}"),
    "trace.empty": msg("{file} holds no job that can be replayed."),
    "trace.timezone": msg("“{zone}” is not a time zone."),
    "trace.load": msg("A load is a number above 0 and at most 100, not {load}."),
    "trace.span": msg("The arrivals of {file} can't be rescaled: all its jobs come at one instant, or too far apart."),
    # fleets and worlds of the twin
    "twin.site": msg("There is no site “{site}” here; there is {sites}."),
    "twin.fleet": msg("{hub} can't be simulated: {field} is neither published nor assumed."),
    "twin.cap": msg("A cap of {cap_w} at {site} can't be kept: its machines draw {idle_w} with no work."),
    "twin.event": msg("The event at {site} ends before it begins."),
    "twin.no-log": msg("The hub has not decided anything yet: there is no event log in {file}."),
    "twin.pool": msg("There is no pool “{pool}” here; there is {pools}."),
    "twin.price": msg("The rules {rules} look at prices, and none is given for {zone}: add --price."),
    "twin.option": msg("{option}: “{given}” can't be used; write it as {example}."),
    "twin.choose": msg("Give exactly one of these: {options}."),
    "twin.job": msg("No job {job} is replayed here: the trace lacks it, or it could never start."),
    # who holds which role
    "role.unknown": msg("There is no role “{role}”: {known}."),
    "role.unknown?known": msg("There is no such role."),
    "role.self": msg("Nobody gives themself a role: somebody else has to."),
    "role.held": msg("This person is {role} already, and nobody holds two roles."),
    "role.separate": msg("{organisation} holds another role, {role}: the roles are of separate organisations."),
    "role.organisation": msg("This person has named no organisation yet: say its name, its kind and its country."),
    "role.belongs": msg("This person belongs to {organisation}, and can hold a role in its name alone."),
    "role.missing": msg("This person does not hold the role: {role}."),
    "role.last": msg("Nobody else holds the role ({role}): appoint a successor first."),
    # rules adopted by two, and what would be under others
    "rules.missing": msg("There is no such proposal of rules."),
    "rules.none": msg("No proposal waits for a consent."),
    "rules.state": msg("This can't be done with a proposal that is {state}."),
    "rules.open": msg("Another proposal, {rules}, still waits: it has to be decided on or withdrawn first."),
    "rules.in-force": msg("The rules {rules} are in force already."),
    "rules.not-live": msg("The hub can't decide by the rules {rules}. {why}"),
    "rules.not-live?why": msg("The hub can't decide by the rules {rules}."),
    "rules.from": msg("Rules come into force from now on, within a year at most."),
    "rules.note": msg("A note is needed, of {most} characters at most."),
    "what-if.missing": msg("There is no such replay."),
    "what-if.field": msg("The field “{field}” is wrong: {why}."),
    "what-if.field?why": msg("The field “{field}” is wrong."),
    "what-if.same": msg("Nothing differs from the hub as it is: choose other rules, or change the hub below."),
    "what-if.busy": msg("{most} replays wait already: let one of them end first."),
    "what-if.few": msg("Too few jobs ended here in that time to replay: {jobs}; {least} are needed."),
    "what-if.failed": msg("The replay ended before its result was there ({why})."),
    "what-if.failed?why": msg("The replay ended before its result was there."),
    # everything else that a face meets
    "request.broken": msg("This request can't be read ({why})."),
    "request.broken?why": msg("This request can't be read."),
    "request.too-large": msg("This is too large: {most} at most."),
    "request.too-large?most": msg("This is too large."),
    "dataset.missing": msg("There is no such dataset."),
}
_AMOUNTS: Final = {"asked": "amount", "available": "amount"}
_SPECIAL: Final[dict[str, dict[str, str]]] = {
    "units.unknown": {"unit": "text"},
    "units.mixed": {"left": "unit", "right": "unit"},
    "award.no-capacity": _AMOUNTS,
    "ledger.overdraft": _AMOUNTS,
    "job.state": {"state": "word:job"},
    "job.array": {"array": "text", "tasks": "list"},
    "log.outside": {"job": "text", "engine": "text"},
    "application.state": {"state": "word:application"},
    "application.not-eligible": {"rules": "words:rule"},
    "request.too-large": {"most": "bytes"},
    "port.busy": {"port": "text"},
    "port.refused": {"port": "text"},
    "role.unknown": {"known": "words:role"},
    "role.held": {"role": "word:role"},
    "role.separate": {"role": "word:role"},
    "role.missing": {"role": "word:role"},
    "role.last": {"role": "word:role"},
    "twin.option": {"given": "text"},
    "twin.job": {"job": "text"},
    "trace.value": {"value": "text"},
    "trace.load": {"load": "text"},
    "units.not-a-number": {"text": "text"},
    "units.not-exact": {"text": "text"},
    "rules.not-live": {"why": "sentences:not-live"},
    "rules.state": {"state": "word:proposal"},
    "twin.cap": {"cap_w": "watts", "idle_w": "watts"},
    "trace.too-large": {"most": "bytes"},
}


def sentence(speaker: Speaker, code: str, params: Params) -> str:
    return filled(speaker, SENTENCES, code, params, _SPECIAL.get(code, {}))
