"""Jobs and their runs, the intents that precede every act on an engine, and the loop's lease."""

from __future__ import annotations

import uuid

from django.db import models

from fabrique.apps.access.models import Allocation, Project
from fabrique.apps.people.models import Person
from fabrique.core.admission.levels import Level
from fabrique.core.job import JobState, is_over

FINAL = tuple(state.value for state in JobState if is_over(state))


class Job(models.Model):
    """What is asked. `number` is what people type; `spec` is the checked header and flags, `script` the text.

    A job that came by an engine's own door (`sbatch`) has that engine's name in `door`, no script here, and no
    submitter while nobody of the hub is known by its `login`. `outside_id` is the engine's own name of it, as people
    see it there; `handle` is what we call its present attempt when we talk to the engine.
    """

    number = models.BigAutoField(primary_key=True)
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)  # pseudonymous, for the ledger
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="jobs")
    allocation = models.ForeignKey(Allocation, on_delete=models.PROTECT, related_name="jobs")
    submitter = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="jobs", null=True)
    door = models.CharField(max_length=64, blank=True)
    outside_id = models.CharField(max_length=40, blank=True)
    handle = models.CharField(max_length=64, blank=True)
    login = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=80)
    spec = models.JSONField()
    script = models.TextField()
    status = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in JobState], default=JobState.PENDING.value
    )
    reason = models.JSONField(default=dict)
    forecast = models.JSONField(default=dict)  # {"from_ms": …, "to_ms": …} while it waits and it is known
    submitted_ms = models.BigIntegerField()
    changed_ms = models.BigIntegerField()
    cancel_ms = models.BigIntegerField(null=True)  # a member asked; the loop acts

    @property
    def called(self) -> str:
        """What people call it in a sentence: where a cluster has its own name of it, by that."""
        return self.outside_id or str(self.number)

    class Meta:
        ordering = ["-number"]
        indexes = [
            models.Index(fields=["status", "number"], name="jobs_job_queue"),
            models.Index(fields=["outside_id"], name="jobs_job_outside"),
        ]


class RunState(models.TextChoices):
    PLANNED = "planned"  # hold and intent stand, the engine was not yet heard of it
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"
    ABANDONED = "abandoned"  # never started; its hold went back


class Run(models.Model):
    """One attempt at a job; settled once, from its cumulative totals.

    `handle` is the engine's name of it where it came by the engine's own door; it is empty where that is our intent.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="runs")
    attempt = models.IntegerField(default=1)
    handle = models.CharField(max_length=64, blank=True)
    engine = models.CharField(max_length=40)
    partition = models.CharField(max_length=64)
    kind = models.CharField(max_length=64)  # the accelerator, core or QPU kind it was given
    unit = models.CharField(max_length=80)
    share_milli = models.BigIntegerField()  # devices or cores in thousandths: time charged is share x elapsed
    bound = models.JSONField(default=dict)  # {"cores": [..], "devices": [..], "memory_mb": n, "power_w": n}
    hold = models.UUIDField(unique=True)
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.PLANNED, db_index=True)
    planned_ms = models.BigIntegerField()
    started_ms = models.BigIntegerField(null=True)
    ended_ms = models.BigIntegerField(null=True)
    elapsed_ms = models.BigIntegerField(null=True)
    seen_ms = models.BigIntegerField(null=True)
    exit_code = models.IntegerField(null=True)
    reason = models.JSONField(default=dict)
    usage = models.JSONField(default=dict)
    energy_mj = models.BigIntegerField(default=0)  # attributed so far, window by window
    energy_provenance = models.JSONField(default=dict)
    charged = models.JSONField(default=dict)  # unit -> value as text, once settled
    settled_entry = models.BigIntegerField(null=True)

    @property
    def level(self) -> Level | None:
        """The power level that was chosen for it; None: the top one, or the one its job named."""
        told = self.bound.get("level")
        return None if told is None else Level(**{name: int(value) for name, value in told.items()})

    @property
    def walltime_ms(self) -> int:
        """The longest it may run: as its job asked, longer at a lower level."""
        return int(self.bound.get("walltime_ms") or self.job.spec["walltime_ms"])

    class Meta:
        ordering = ["planned_ms", "id"]
        constraints = [
            models.UniqueConstraint(fields=["job", "attempt"], name="jobs_run_attempt"),
            models.UniqueConstraint(
                fields=["engine", "handle"], name="jobs_run_handle", condition=models.Q(handle__gt="")
            ),
        ]


class Intent(models.Model):
    """Written before the act, with the epoch of the lease that allowed it. `id` is what the engine is told."""

    id = models.CharField(max_length=64, primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="intents")
    act = models.CharField(max_length=10, choices=[(act, act) for act in ("submit", "release", "cancel", "preempt")])
    epoch = models.BigIntegerField()
    created_ms = models.BigIntegerField()
    acted_ms = models.BigIntegerField(null=True)
    resolved_ms = models.BigIntegerField(null=True, db_index=True)
    absences = models.IntegerField(default=0)  # complete listings after the timeout that did not show it


class RecordState(models.TextChoices):
    OPEN = "open"  # by the accounting's word it still runs
    BOOKED = "booked"  # `run` was settled from it
    QUARANTINED = "quarantined"  # nobody here can be charged for it yet; `reason` says why


class EngineRecord(models.Model):
    """What an engine's accounting said of one run, kept as it said it. `key` is the accounting's; read again, it stays
    one row.
    """

    engine = models.CharField(max_length=64)
    key = models.CharField(max_length=160)
    raw = models.BinaryField()
    state = models.CharField(max_length=12, choices=RecordState.choices, db_index=True)
    reason = models.JSONField(default=dict)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="records", null=True)
    first_ms = models.BigIntegerField()
    changed_ms = models.BigIntegerField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["engine", "key"], name="jobs_record_key")]


class EarlierReading(models.Model):
    """What a record said that was booked, before it said otherwise: what the books had been made of."""

    record = models.ForeignKey(EngineRecord, on_delete=models.PROTECT, related_name="earlier")
    raw = models.BinaryField()
    until_ms = models.BigIntegerField()

    class Meta:
        ordering = ["id"]


class Lease(models.Model):
    """Who may act, until when; `epoch` fences what an earlier holder still tries."""

    name = models.CharField(max_length=20, primary_key=True)
    holder = models.CharField(max_length=120, blank=True)
    epoch = models.BigIntegerField(default=0)
    expires_ms = models.BigIntegerField(default=0)


class HubState(models.Model):
    """Switches of the whole hub; one row."""

    id = models.IntegerField(primary_key=True, default=1)
    observe_only = models.BooleanField(default=False)  # after a restore: adopt first, act when resumed
    observe_only_since_ms = models.BigIntegerField(null=True)
    gap_from_ms = models.BigIntegerField(null=True)  # the backup's instant: what came after is unknown
    last_cycle_ms = models.BigIntegerField(null=True)
    last_cycle_took_ms = models.BigIntegerField(null=True)
    silent = models.JSONField(default=dict)  # engine -> why it did not answer in the last cycle
    cycles = models.BigIntegerField(default=0)
    decided = models.JSONField(default=dict)  # what the next decision has to know of those before
    meter_state = models.JSONField(default=dict)  # the counters where the last window ended
    ingested = models.JSONField(default=dict)  # engine -> the instant up to which its accounting was read
