"""Rows of squeue, sacct and scontrol into jobs, records and nodes.

Fields are parted by a token that the caller drew for this one call, so that no name, comment or reason can end a
field or a row, newlines included. What can't be read becomes an `Unread` and stops no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from fabrique.engines.slurm import names, tres, words
from fabrique.engines.slurm.model import Node, QueuedJob, Record, Tres, Unread

T = TypeVar("T")
Row = Mapping[str, str]
END: Final = "end"  # follows the token where a row of squeue ends

QUEUE: Final = (
    "JobID ArrayJobID ArrayTaskID Name UserName Account QOS Partition State Reason SubmitTime EligibleTime StartTime "
    "EndTime TimeLimit NodeList tres-alloc PriorityLong Nice RestartCnt BatchFlag OverSubscribe Requeue Comment "
    "admin_comment Dependency Feature Licenses STDOUT exit_code"
).split()
PER_NODE: Final = "tres-per-node"
RECORDS: Final = (
    "Cluster JobIDRaw JobID JobName User Account QOS Partition State Submit Eligible Start End TimelimitRaw NodeList "
    "ReqTRES AllocTRES ExitCode TotalCPU ConsumedEnergyRaw Suspended Comment AdminComment ElapsedRaw"
).split()
DETAIL: Final = "MaxRSS"  # asked for where steps are: without them Slurm says 0 of processor time and memory
NEWER_RECORDS: Final = ("Restarts", "Exclusive")  # asked for where this sacct knows them

_OVER: Final = frozenset(
    "COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY".split()
)
_PLACE: Final = re.compile(r"(\d+)(?:_(\d+|\[[^\]]*\]?))?(?:\+\d+)?")
_NODE_FIELD: Final = re.compile(r"(?:^|\s)([A-Z][A-Za-z_]{1,40})=")
_SEPARATOR: Final = b"\x1f"


def queue(
    output: bytes, fields: Sequence[str], token: str, before: dict[bytes, QueuedJob] | None = None
) -> tuple[list[QueuedJob], list[Unread]]:
    """Rows end with the token, `END` and a newline; what follows the last one was cut short.

    `before`: the jobs of the last look by their rows, renewed here: most stand as they did, and are not read again.
    """
    *whole, rest = output.split(f"{token}{END}\n".encode())
    found, unread = _each(whole, fields, token, queued_job, before)
    return found, unread + ([Unread(rest, "cut short")] if rest.strip() else [])


def records(output: bytes, fields: Sequence[str], token: str) -> tuple[list[Record], list[Unread]]:
    """A job's steps follow it, where they were asked for: they have the memory that was used.

    Its energy stands with the step of its script. That counts the first node alone: it is the job's where it had one.
    """
    found: list[Record] = []
    elements, unread = _each(_counted_rows(output, len(fields), token), fields, token, _record_or_step)
    for one in elements:
        if isinstance(one, Record):
            found.append(one)
        elif found and found[-1].job_id == one[0]:
            last = found[-1]
            energy = one[2] if not last.energy_mj and len(last.nodes) == 1 else last.energy_mj  # 0: nobody counted
            found[-1] = replace(last, max_rss_bytes=max(last.max_rss_bytes or 0, one[1]) or None, energy_mj=energy)
    return found, unread


def nodes(output: bytes) -> tuple[list[Node], list[Unread]]:
    """`scontrol show node -o`: a line a node; the free texts of people come last, and the first of a name counts."""
    found: list[Node] = []
    unread: list[Unread] = []
    for line in output.splitlines():
        if not line.strip():
            continue
        try:
            found.append(node(_pairs(line.decode("utf-8", "replace"))))
        except ValueError as error:
            unread.append(Unread(line, str(error)))
    return found, unread


def queued_job(row: Row, raw: bytes = b"") -> QueuedJob:
    """Raises ValueError."""
    word = words.job_state(row["State"])
    waits = word.state == "PENDING"
    task, ids, together = _tasks(words.text(row["ArrayTaskID"]))
    asked = tres.read(row["tres-alloc"])
    licences = tres.licences(row["Licenses"])
    total = Tres(asked.cores, asked.memory_mb, asked.nodes, asked.gpus, asked.billing, None, licences)
    code, sent = words.exit_of(row["exit_code"]) if word.state in _OVER else (None, None)
    array, placed = words.number(row["ArrayJobID"]), names.nodes(words.text(row["NodeList"]))
    job = words.needed(words.number(row["JobID"]), "id")
    # where there is no field of its own, OverSubscribe is NO for an exclusive job alone
    alone = words.whole_nodes(row["exclusive"]) if "exclusive" in row else row["OverSubscribe"] == "NO"
    return QueuedJob(
        job_id=job,
        name=row["Name"],
        user=row["UserName"],
        account=words.text(row["Account"]),
        qos=words.text(row["QOS"]),
        partition=row["Partition"],
        state=word.state,
        flags=word.flags,
        reason=words.text(row["Reason"]),
        array_id=None if task is None and not ids else array,
        array_task=task,
        tasks=len(ids) or 1,
        task_ids=ids,
        tasks_at_once=together,
        submitted_ms=words.needed(words.instant_ms(row["SubmitTime"]), "submission"),
        eligible_ms=words.instant_ms(row["EligibleTime"]),
        started_ms=None if waits else words.instant_ms(row["StartTime"]),
        ended_ms=words.instant_ms(row["EndTime"]) if word.state in _OVER or "COMPLETING" in word.flags else None,
        limit_ms=words.duration_ms(row["TimeLimit"]),
        nodes=placed,
        asked=total,
        devices_per_node=tres.devices(row.get(PER_NODE, "")),
        given=total if placed and not waits else Tres(),
        priority=words.number(row["PriorityLong"]),
        nice=words.number(row["Nice"]) or 0,
        restarts=words.count(row["RestartCnt"]),
        batch=row["BatchFlag"] != "0",
        exclusive=alone,
        requeue=row["Requeue"] == "1",
        comment=words.text(row["Comment"]),
        admin_comment=words.text(row["admin_comment"]),
        dependency=words.text(row["Dependency"]),
        features=words.text(row["Feature"]),
        output=words.text(row["STDOUT"]),
        exit_code=code,
        signal=sent,
    )


def _record_or_step(row: Row, raw: bytes) -> Record | tuple[int, int, int | None]:
    """A job's record, or (its id, bytes, the energy of its script) of one of its steps."""
    job, _, step = row["JobIDRaw"].partition(".")
    if not step:
        return record(row, raw)
    used = words.text(row.get(DETAIL, ""))
    energy = tres.millijoules(row["ConsumedEnergyRaw"]) if step == "batch" else None
    return words.needed(words.number(job), "id"), words.size(used, 1) if used else 0, energy


def record(row: Row, raw: bytes) -> Record:
    """Raises ValueError."""
    # a run that a requeue or a resize ended is over, whatever becomes of the job: in the queue the words mean otherwise
    said = row["State"].strip()
    word = words.JobWord(said) if said in ("REQUEUED", "RESIZING") else words.job_state(said)
    submitted = words.needed(words.instant_ms(row["Submit"]), "submission")
    started = words.instant_ms(row["Start"])
    given = tres.read(row["AllocTRES"])
    energy = tres.millijoules(row["ConsumedEnergyRaw"])
    place = _PLACE.fullmatch(row["JobID"].strip())
    task = place[2] if place else None
    code, sent = words.exit_of(row["ExitCode"])  # until 24.11 an exit code above 127 is said 128 too low
    restarts, alone = row.get("Restarts", ""), row.get("Exclusive", "")
    return Record(
        cluster=row["Cluster"],
        job_id=words.needed(words.number(row["JobIDRaw"]), "id"),
        array_id=int(place[1]) if place and task else None,
        array_task=int(task) if task and task.isdecimal() else None,
        name=row["JobName"],
        user=row["User"],
        account=row["Account"],
        qos=words.text(row["QOS"]),
        partition=row["Partition"],
        state=word.state,
        submitted_ms=submitted,
        eligible_ms=words.instant_ms(row["Eligible"]),
        started_ms=started,
        ended_ms=words.instant_ms(row["End"]),
        elapsed_ms=words.count(row["ElapsedRaw"]) * 1000,
        limit_ms=words.minutes_ms(row["TimelimitRaw"]),
        nodes=names.nodes("" if row["NodeList"] == "None assigned" else words.text(row["NodeList"])),
        asked=tres.read(row["ReqTRES"]),
        given=given,
        exit_code=code,
        signal=sent,
        cpu_ms=words.duration_ms(row["TotalCPU"]) if DETAIL in row else None,
        energy_mj=given.energy_mj if energy is None else energy,
        exclusive=words.whole_nodes(alone) if alone else None,
        restarts=words.number(restarts) if restarts else None,
        suspended_ms=words.duration_ms(row["Suspended"]) or 0,
        cancelled_by=word.by,
        comment=row["Comment"],
        admin_comment=row["AdminComment"],
        raw=raw,
    )


def node(row: Row) -> Node:
    """Raises ValueError."""
    name = names.nodes(row.get("NodeName", ""))
    if len(name) != 1:
        raise ValueError("no node's name")
    state, flags = words.node_state(row.get("State", ""))
    watts = words.number(row.get("CurrentWatts", ""))
    partitions = words.text(row.get("Partitions", ""))
    return Node(
        name=name[0],
        state=state,
        flags=flags,
        partitions=tuple(part for part in partitions.split(",") if part),
        total=tres.read(row.get("CfgTRES", "")),
        used=tres.read(row.get("AllocTRES", "")),
        watts=watts or None,
        energy_mj=tres.millijoules(row.get("ConsumedJoules", "")),
        reason=words.text(row.get("Reason", "")),
    )


def _each(
    rows: Iterable[bytes],
    fields: Sequence[str],
    token: str,
    read: Callable[[Row, bytes], T],
    before: dict[bytes, T] | None = None,
) -> tuple[list[T], list[Unread]]:
    found: list[T] = []
    unread: list[Unread] = []
    mark, last, now = token.encode(), before or {}, {}
    for row in rows:
        values = row.split(mark)
        raw = _SEPARATOR.join(values)
        if len(values) != len(fields):
            unread.append(Unread(raw, f"{len(values)} fields, not {len(fields)}"))
            continue
        one = last.get(raw)
        if one is None:
            try:
                one = read(dict(zip(fields, row.decode("utf-8", "replace").split(token), strict=True)), raw)
            except ValueError as error:
                unread.append(Unread(raw, str(error)))
                continue
        found.append(one)
        if before is not None and _SEPARATOR not in row:  # else two rows may look the same once joined
            now[raw] = one
    if before is not None:
        before.clear()
        before.update(now)
    return found, unread


def _counted_rows(output: bytes, fields: int, token: str) -> Iterator[bytes]:
    """Rows of `fields` values with the token after each, and a newline after the last."""
    mark = token.encode()
    values = output.split(mark)
    for start in range(0, len(values) - 1, fields):
        row = values[start : start + fields]
        yield mark.join([row[0].removeprefix(b"\n"), *row[1:]])
    if rest := values[-1].strip():
        yield rest


def _tasks(written: str) -> tuple[int | None, tuple[int, ...], int | None]:
    """One task; or all those of an array that waits, and how many of them may run together."""
    if not written:
        return None, (), None
    ids, together = names.tasks(written)
    return (None, ids, together) if len(ids) > 1 or not written.isdecimal() else (ids[0], (), None)


def _pairs(line: str) -> dict[str, str]:
    """`Reason` is whatever a person wrote: nothing in it is a field."""
    told, mark, reason = line.partition(" Reason=")
    found: dict[str, str] = {"Reason": reason.strip()} if mark else {}
    marks = list(_NODE_FIELD.finditer(told))
    for mark_at, after in zip(marks, [*marks[1:], None], strict=True):
        found.setdefault(mark_at[1], told[mark_at.end() : after.start() if after else len(told)].strip())
    return found
