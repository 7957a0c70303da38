"""Slurm's own reasons in words. They are an open list: one that stands not here is said as Slurm says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fabrique.language.marks import msg

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

SENTENCES: Final[dict[str, str]] = {
    "None": msg("Slurm has not looked at it yet."),
    "Priority": msg("Slurm has jobs before it."),
    "Resources": msg("Slurm waits for nodes or devices."),
    "Licenses": msg("Slurm waits for watts, or another licence."),
    "JobHeldAdmin": msg("Slurm holds it until the hub releases it."),
    "JobHeldUser": msg("Its user holds it: scontrol release lets it go."),
    "Dependency": msg("Slurm waits for jobs that it depends on."),
    "DependencyNeverSatisfied": msg("A job that it depends on ended otherwise than it asks: it will never start."),
    "BeginTime": msg("Slurm waits for its begin time."),
    "Reservation": msg("Slurm waits for its reservation."),
    "ReqNodeNotAvail": msg("Nodes that it asks for by name are not available."),
    "NodeDown": msg("A node that it needs is down."),
    "PartitionDown": msg("Its partition takes jobs and starts none."),
    "PartitionInactive": msg("Its partition is closed."),
    "PartitionNodeLimit": msg("It asks for more nodes than its partition allows."),
    "PartitionTimeLimit": msg("It asks for more time than its partition allows."),
    "BadConstraints": msg("No node has what it asks for."),
    "Cleaning": msg("Slurm clears away its last attempt."),
    "Prolog": msg("Slurm prepares its nodes."),
    "JobArrayTaskLimit": msg("Its array runs as many tasks at once as it asked for."),
    "JobHoldMaxRequeue": msg("It was requeued so often that Slurm holds it."),
    "InvalidAccount": msg("Slurm no longer knows its account."),
    "InvalidQOS": msg("Slurm no longer knows its QoS."),
    "QOS…": msg("A limit of its QoS in Slurm binds it ({reason})."),
    "Assoc…": msg("A limit of its account in Slurm binds it ({reason})."),
}


def sentence(speaker: Speaker, reason: str) -> str:
    """What Slurm says of a job that waits, in words; "" where it says nothing."""
    word = reason.strip().strip("()").partition(",")[0]
    if not word:
        return ""
    found = SENTENCES.get(word)
    for begin in ("QOS", "Assoc"):
        if found is None and word.startswith(begin):
            found = SENTENCES[f"{begin}…"]
    if found is None:
        return speaker.text("Slurm says: {reason}.", reason=word[:120])
    return speaker.text(found, reason=word[:80])
