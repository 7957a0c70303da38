"""From the application to the allocation. States change in `services.py` alone, members in `members.py`."""

from __future__ import annotations

import uuid

from django.db import models

from fabrique.apps.people.models import Organisation, Person


class Project(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.CharField(max_length=40, unique=True)  # what people type: p-3f9a2c
    serial = models.IntegerField(unique=True)  # from 1: its jobs' own user, where the hub runs as root
    title = models.CharField(max_length=200)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="projects")
    created_ms = models.BigIntegerField()

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.code


class ProjectMember(models.Model):
    """The PI and the members; a person may be in several projects."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="members")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="projects")
    role = models.CharField(max_length=10, choices=[("pi", "pi"), ("member", "member")])
    since_ms = models.BigIntegerField()
    until_ms = models.BigIntegerField(null=True)


class Invitation(models.Model):
    """A link that makes one person a member of the project, once: only the SHA-256 of its token is kept."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="invitations")
    token_hash = models.CharField(max_length=64, unique=True)
    made_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    created_ms = models.BigIntegerField()
    expires_ms = models.BigIntegerField()
    used_ms = models.BigIntegerField(null=True)
    used_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+", null=True)


class ApplicationState(models.TextChoices):
    DRAFT = "draft"
    SUBMITTED = "submitted"  # eligible as far as is known; an officer decides
    INELIGIBLE = "ineligible"
    AWARDED = "awarded"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Application(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    mode = models.CharField(max_length=40)
    mode_version = models.IntegerField()
    applicant = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="applications")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="applications", null=True)  # if awarded
    form = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=ApplicationState.choices, default=ApplicationState.DRAFT)
    created_ms = models.BigIntegerField()
    changed_ms = models.BigIntegerField()
    submitted_ms = models.BigIntegerField(null=True)
    due_ms = models.BigIntegerField(null=True)  # the mode's target for an answer
    decided_ms = models.BigIntegerField(null=True)
    decided_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+", null=True)
    reason = models.JSONField(default=dict)

    class Meta:
        ordering = ["-created_ms", "id"]


class EligibilityAnswer(models.Model):
    """One rule's answer at one stage: creation, submission, award, change of members."""

    application = models.ForeignKey(Application, on_delete=models.PROTECT, related_name="answers")
    stage = models.CharField(max_length=12)
    rule = models.CharField(max_length=40)
    verdict = models.CharField(max_length=8)  # pass, fail, unknown
    reason = models.JSONField()
    evidence = models.JSONField(default=dict)
    at_ms = models.BigIntegerField()

    class Meta:
        ordering = ["id"]


class Award(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    application = models.OneToOneField(Application, on_delete=models.PROTECT, related_name="award")
    pool = models.CharField(max_length=64)
    amounts = models.JSONField()  # unit -> value as text
    starts_ms = models.BigIntegerField()
    ends_ms = models.BigIntegerField()
    decided_ms = models.BigIntegerField()


class AllocationState(models.TextChoices):
    OPEN = "open"
    ENDED = "ended"


class Allocation(models.Model):
    """The live account an award opens, for [starts_ms, ends_ms). Its amounts are in the ledger, under `id`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    award = models.OneToOneField(Award, on_delete=models.PROTECT, related_name="allocation")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="allocations")
    pool = models.CharField(max_length=64, db_index=True)
    mode = models.CharField(max_length=40)
    starts_ms = models.BigIntegerField()
    ends_ms = models.BigIntegerField()
    data_deletion_ms = models.BigIntegerField(null=True)
    state = models.CharField(max_length=8, choices=AllocationState.choices, default=AllocationState.OPEN)

    class Meta:
        ordering = ["starts_ms", "id"]
