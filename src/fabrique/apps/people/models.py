"""Who is who. Names live here and can be erased; everything else knows a person by pseudonymous id."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models


class Role(models.TextChoices):
    """Separate roles of separate organisations; there is no superuser."""

    OPERATOR = "operator"
    COORDINATOR = "coordinator"
    REVIEWER = "reviewer"
    FUNDER = "funder"
    AUDITOR = "auditor"


class Organisation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=40)  # startup, sme, large-company, researcher …: as access modes name them
    country = models.CharField(max_length=2)  # ISO 3166-1
    subdivision = models.CharField(max_length=6, blank=True)  # ISO 3166-2 without the country, as QC
    created_ms = models.BigIntegerField()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class PersonManager(BaseUserManager["Person"]):
    def get_by_natural_key(self, username: str | None) -> Person:
        return self.get(email__iexact=username or "")


class Person(AbstractBaseUser):
    """A person, known elsewhere by `id` alone. E-mail is how to reach them, never a key of record."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True, null=True)  # null once erased
    name = models.CharField(max_length=200, blank=True)
    voperson_id = models.CharField(max_length=200, unique=True, null=True, blank=True)
    login = models.CharField(max_length=64, blank=True)  # of the machine, for the command line
    language = models.CharField(max_length=10, blank=True)
    is_active = models.BooleanField(default=True)
    created_ms = models.BigIntegerField(default=0)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = PersonManager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name or str(self.id)[:8]


class Membership(models.Model):
    """A person belongs to an organisation during [since_ms, until_ms)."""

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="memberships")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="memberships")
    since_ms = models.BigIntegerField()
    until_ms = models.BigIntegerField(null=True)


class RoleGrant(models.Model):
    """A role held for an organisation during [since_ms, until_ms)."""

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="roles")
    role = models.CharField(max_length=20, choices=Role.choices)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT)
    since_ms = models.BigIntegerField()
    until_ms = models.BigIntegerField(null=True)
    granted_by = models.UUIDField(null=True)


class SignInLink(models.Model):
    """A one-time link: only the SHA-256 of its token is kept."""

    person = models.ForeignKey(Person, on_delete=models.CASCADE)
    token_hash = models.CharField(max_length=64, unique=True)
    created_ms = models.BigIntegerField()
    expires_ms = models.BigIntegerField()
    used_ms = models.BigIntegerField(null=True)


class CacheEntry(models.Model):
    """What all processes of the portal remember for a while: counts of attempts to sign in.

    The table that Django's database cache wants; that cache alone reads and writes it.
    """

    cache_key = models.CharField(max_length=255, primary_key=True)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)
