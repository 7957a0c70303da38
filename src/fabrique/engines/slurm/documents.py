"""slurmrestd's documents into jobs, records and nodes, for its versions 0.0.38 to 0.0.45.

What was a number became {set, infinite, number}; what was a word became a list of words; names moved little. One
reader takes every shape; what can't be read becomes an `Unread` and stops no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from fabrique.engines.slurm import names, tres, words
from fabrique.engines.slurm.model import Node, QueuedJob, Record, Tres, Unread

T = TypeVar("T")
Element = Mapping[str, Any]
Read = dict[int, tuple[tuple[object, ...], QueuedJob]]  # by Slurm's id, what was read of a job and what it said
QUEUE: Final = (
    "job_id name user_name account qos partition job_state state_reason array_job_id array_task_id "
    "array_task_string submit_time eligible_time start_time end_time time_limit nodes tres_req_str tres_alloc_str "
    "tres_per_node licenses priority nice restart_cnt batch_flag shared exclusive requeue comment admin_comment "
    "dependency features standard_output exit_code"
).split()
_OVER: Final = frozenset(
    "COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY".split()
)
_MOST_RAW: Final = 65_536


def every(elements: object, read: Callable[[Element], T]) -> tuple[list[T], list[Unread]]:
    """Raises ValueError when there is no list at all."""
    if not isinstance(elements, list):
        raise ValueError("no list")
    found: list[T] = []
    unread: list[Unread] = []
    for element in elements:
        try:
            if not isinstance(element, dict):
                raise ValueError("no object")
            found.append(read(element))
        except (ValueError, OverflowError, RecursionError) as error:
            unread.append(Unread(raw(element), str(error)))
    return found, unread


def raw(element: object) -> bytes:
    """The element as it came, but for the order of its names."""
    return json.dumps(element, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")[:_MOST_RAW]


def reader(before: Read, now: Read) -> Callable[[Element], QueuedJob]:
    """A reader of queued jobs that leaves in `now` what it read: who stands as in `before` is not read again."""

    def read(one: Element) -> QueuedJob:
        values = tuple(map(one.get, QUEUE))
        job = before.get(values[0]) if isinstance(values[0], int) else None
        if job is None or job[0] != values:
            job = values, queued_job(dict(zip(QUEUE, values, strict=True)))
        now[job[1].job_id] = job
        return job[1]

    return read


def queued_job(one: Element) -> QueuedJob:
    """Reads the fields of `QUEUE`. Raises ValueError."""
    word = words.job_state(one.get("job_state"))
    waits = word.state == "PENDING"
    asked, given = tres.read(_text(one, "tres_req_str")), tres.read(_text(one, "tres_alloc_str"))
    licences = tres.licences(_text(one, "licenses"))
    asked = Tres(asked.cores, asked.memory_mb, asked.nodes, asked.gpus, asked.billing, None, licences)
    if not waits:
        given = Tres(given.cores, given.memory_mb, given.nodes, given.gpus, given.billing, None, licences)
    array, task, written = words.number(one.get("array_job_id")), words.number(one.get("array_task_id")), ""
    if array:
        written = _text(one, "array_task_string")
    ids, together = names.tasks(written) if written else ((), None)
    code, sent = words.exit_of(one.get("exit_code")) if word.state in _OVER else (None, None)
    over = word.state in _OVER or "COMPLETING" in word.flags
    return QueuedJob(
        job_id=words.needed(words.number(one.get("job_id")), "id"),
        name=_text(one, "name"),
        user=_text(one, "user_name"),
        account=_text(one, "account"),
        qos=_text(one, "qos"),
        partition=_text(one, "partition"),
        state=word.state,
        flags=word.flags,
        reason=words.text(_text(one, "state_reason")),
        array_id=array or None if task is not None or ids else None,
        array_task=task if array and not ids else None,
        tasks=len(ids) or 1,
        task_ids=ids,
        tasks_at_once=together,
        submitted_ms=words.needed(words.instant_ms(one.get("submit_time")), "submission"),
        eligible_ms=words.instant_ms(one.get("eligible_time")),
        started_ms=None if waits else words.instant_ms(one.get("start_time")),
        ended_ms=words.instant_ms(one.get("end_time")) if over else None,
        limit_ms=words.minutes_ms(one.get("time_limit")),
        nodes=names.nodes(_text(one, "nodes")),
        asked=asked,
        devices_per_node=tres.devices(_text(one, "tres_per_node")),
        given=Tres() if waits else given,
        priority=words.number(one.get("priority")),
        nice=words.number(one.get("nice")) or 0,
        restarts=words.count(one.get("restart_cnt")),
        batch=one.get("batch_flag") is not False,
        exclusive=_alone(one.get("shared"), one.get("exclusive")),
        requeue=one.get("requeue") is True,
        comment=_text(one, "comment"),
        admin_comment=_text(one, "admin_comment"),
        dependency=_text(one, "dependency"),
        features=_text(one, "features"),
        output=_text(one, "standard_output"),
        exit_code=code,
        signal=sent,
    )


def record(one: Element) -> Record:
    """Raises ValueError."""
    state, times, array = _inside(one, "state"), _inside(one, "time"), _inside(one, "array")
    comment, resources = _inside(one, "comment"), _inside(one, "tres")
    word = words.job_state(state.get("current"))
    given = tres.listed(resources.get("allocated"))
    code, sent = words.exit_of(one.get("exit_code"))
    if word.state == "FAILED" and not code and not sent:
        code = None  # 0.0.38 says SUCCESS of every job that no signal ended
    submitted = words.needed(words.instant_ms(times.get("submission")), "submission")
    started = words.instant_ms(times.get("start"))
    placed = names.nodes("" if one.get("nodes") == "None assigned" else _text(one, "nodes"))
    # of the script's step, which counts the first node alone: as the commands have it
    energy = given.energy_mj or (_script_mj(one.get("steps")) if len(placed) == 1 else None)
    task = words.number(array.get("task_id"))
    by = one.get("kill_request_user")
    exclusive = one.get("exclusive")
    return Record(
        cluster=_text(one, "cluster"),
        job_id=words.needed(words.number(one.get("job_id")), "id"),
        array_id=(words.number(array.get("job_id")) or None) if task is not None else None,
        array_task=task if words.number(array.get("job_id")) else None,
        name=_text(one, "name"),
        user=_text(one, "user"),
        account=_text(one, "account"),
        qos=_text(one, "qos"),
        partition=_text(one, "partition"),
        # a run that a requeue or a resize ended is over, whatever becomes of the job
        state=next((said for said in ("REQUEUED", "RESIZING") if said in word.flags), word.state),
        submitted_ms=submitted,
        eligible_ms=words.instant_ms(times.get("eligible")),
        started_ms=started,
        ended_ms=words.instant_ms(times.get("end")),
        elapsed_ms=words.count(times.get("elapsed")) * 1000,
        limit_ms=words.minutes_ms(times.get("limit")),
        nodes=placed,
        asked=tres.listed(resources.get("requested")),
        given=given,
        exit_code=code,
        signal=sent,
        cpu_ms=_processor_ms(one.get("steps")),
        energy_mj=energy,
        exclusive=None if exclusive is None else _alone(None, exclusive),
        restarts=words.number(one.get("restart_cnt")),
        suspended_ms=words.count(times.get("suspended")) * 1000,
        cancelled_by="" if by is None or word.state != "CANCELLED" else str(by)[:64],
        comment=_text(comment, "job"),
        admin_comment=_text(comment, "administrator"),
        raw=raw(one),
    )


def node(one: Element) -> Node:
    """Raises ValueError."""
    name = names.nodes(_text(one, "name"))
    if len(name) != 1:
        raise ValueError("no node's name")
    state, flags = words.node_state(one.get("state"), one.get("state_flags", ()))
    energy = _inside(one, "energy")
    partitions = one.get("partitions")
    return Node(
        name=name[0],
        state=state,
        flags=flags,
        partitions=tuple(str(part) for part in partitions) if isinstance(partitions, list) else (),
        total=tres.read(_text(one, "tres")),
        used=tres.read(_text(one, "tres_used")),
        watts=words.number(energy.get("current_watts")) or None,
        energy_mj=tres.millijoules(energy.get("consumed_energy")),
        reason=_text(one, "reason"),
    )


def _processor_ms(steps: object) -> int | None:
    """The sum over a job's steps, which the job itself does not have; None where they were not asked for."""
    if not isinstance(steps, list) or not steps:
        return None
    totals = [_inside(_inside(step, "time"), "total") for step in steps if isinstance(step, dict)]
    return sum(words.count(t.get("seconds")) * 1000 + words.count(t.get("microseconds")) // 1000 for t in totals)


def _script_mj(steps: object) -> int | None:
    """What the step of a job's script consumed: `batch` is its id, where a user may call any other so. Among the step's
    `tres`, the energy that REST calls consumed is its mean power.
    """
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and str(_inside(step, "step").get("id")).rpartition(".")[2] == "batch":
            return tres.millijoules(_inside(_inside(step, "statistics"), "energy").get("consumed"))
    return None


def _alone(shared: object, exclusive: object) -> bool:
    """Whether a job has its nodes for itself alone."""
    said = [str(word).upper() for word in (shared if isinstance(shared, list) else [shared]) if word is not None]
    more = [str(word) for word in (exclusive if isinstance(exclusive, list) else [exclusive]) if word]
    return "NONE" in said or any(map(words.whole_nodes, more))


def _text(one: Element, name: str) -> str:
    value = one.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _inside(one: Element, name: str) -> Element:
    value = one.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    return value
