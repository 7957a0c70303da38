"""The shapes of answers and of what is sent. Amounts are base units as text; instants are UTC milliseconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field, StrictBool, StringConstraints

from fabrique.core.job import SCRIPT_MOST_BYTES
from fabrique.portal.api.strict import Code, FormValue, Note

Amounts = dict[str, str]  # unit -> base units
Json = dict[str, Any]
Key = Annotated[str, StringConstraints(max_length=80)]


class SessionOut(Schema):
    person: str | None
    name: str | None
    roles: list[str]
    csrf_token: str


class HubOut(Schema):
    id: str
    name: str | None
    jurisdiction: str
    nulls: int
    assumptions: int


class OfferOut(Schema):
    partition: str
    kind: str
    unit: str
    devices_milli: str


class ThisHubOut(HubOut):
    site: str
    zone: str
    timezone: str
    currency: str
    languages: list[str]
    cap_w: int | None
    offers: list[OfferOut]
    shares_ppm: dict[str, int]
    observe_only: bool
    definition: Json


class FactorOut(Schema):
    zone: str
    year: int
    kind: str
    scope: str | None
    basis: str
    method: str
    mg_per_kwh: str
    source: str


class FormIn(Schema):
    mode: Code
    form: Annotated[dict[Key, FormValue], Field(max_length=200)]


class Told(Schema):
    """`reason` has its code and parameters, `sentence` says it."""

    rule: str
    verdict: Literal["pass", "fail", "unknown"]
    reason: Json
    sentence: str
    evidence: Json


class FieldWrong(Schema):
    field: str
    code: str
    params: Json
    sentence: str


class AssessmentOut(Schema):
    verdict: Literal["pass", "fail", "unknown"]
    errors: list[FieldWrong]
    answers: list[Told]


class ApplicationOut(Schema):
    id: UUID
    mode: str
    mode_version: int
    state: str
    reason: Json | None
    sentence: str
    project: str | None
    form: Json
    created_ms: int
    submitted_ms: int | None
    due_ms: int | None
    decided_ms: int | None
    answers: list[Told]


class DecisionIn(Schema):
    accept: StrictBool
    note: Note


class LineOut(Schema):
    unit: str
    granted: str
    used: str
    held: str
    lost: str
    expired: str
    transferred: str
    available: str
    limited: bool
    bookable: str | None
    pace_per_day: str | None


class AllocationOut(Schema):
    id: UUID
    project: str
    mode: str
    pool: str
    state: str
    starts_ms: int
    ends_ms: int
    data_deletion_ms: int | None
    lines: list[LineOut]
    script_line: str
    sbatch_line: str | None
    acknowledgement: str


class MemberOut(Schema):
    name: str
    role: str
    since_ms: int


class ProjectOut(Schema):
    code: str
    title: str
    organisation: str
    members: list[MemberOut]
    allocations: list[AllocationOut]


class InvitationOut(Schema):
    link: str
    expires_ms: int


class TokenIn(Schema):
    token: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class JoinedOut(Schema):
    project: str
    role: str
    since_ms: int


class JobIn(Schema):
    project: Code | None = None
    script: Annotated[str, StringConstraints(max_length=SCRIPT_MOST_BYTES)]
    flags: Annotated[dict[Key, Annotated[str, StringConstraints(max_length=400)]], Field(max_length=40)] = {}


class LevelOut(Schema):
    """A power limit of each device; the work done per second and the mean draw there, in permille of the top's."""

    limit_w: int
    throughput_permille: int
    draw_permille: int


class RunOut(Schema):
    """`level` None: the top one, or the one that its job named. `walltime_ms`: the longest it may run, at its level."""

    attempt: int
    partition: str
    kind: str
    state: str
    level: LevelOut | None
    walltime_ms: int
    started_ms: int | None
    ended_ms: int | None
    elapsed_ms: int | None
    exit_code: int | None
    energy_mj: str
    energy: Json
    charged: Amounts


class JobOut(Schema):
    """`starts` is the interval of its start while it waits, None when it is not known. `door` names the engine that it
    was submitted to round the hub, `outside_id` is its name at the cluster.
    """

    number: int
    door: str | None
    outside_id: str | None
    project: str
    name: str
    status: str
    reason: Json | None
    sentence: str
    submitted_ms: int
    starts: tuple[int, int] | None
    ends_by_ms: int | None
    asked: Json
    run: RunOut | None


class QueuedOut(Schema):
    """A job in the queue; `project` only for those who may see it."""

    number: int
    project: str | None
    status: str
    reason: Json | None
    sentence: str
    submitted_ms: int
    starts_by_ms: int | None


class LogOut(Schema):
    text: str
    next: str
    end: bool


class WindowOut(Schema):
    start_ms: int
    end_ms: int
    meter_mj: str
    jobs_mj: str
    idle_mj: str
    overhead_mj: str
    residual_mj: str
    saved_mj: str
    cap_w: int | None
    mg_per_kwh: str | None
    provenance: Json


class HeadOut(Schema):
    seq: str
    hash: str
    at_ms: int


class CheckpointOut(Schema):
    hub: str
    seq: str
    entry_hash: str
    at_ms: str
    public_key: str
    signature: str


class CheckpointsIn(Schema):
    """Checkpoints from outside, as statements carry them."""

    checkpoints: Annotated[list[CheckpointOut], Field(max_length=1_000)] = []
