"""A project is opened by an award: those that came of a submission, and were never awarded anything, go."""

from __future__ import annotations

from typing import Any

from django.db import migrations

CLOSED = ("ineligible", "refused", "withdrawn")


def drop_empty(apps: Any, schema_editor: Any) -> None:
    of = {name: apps.get_model("access", name) for name in ("Application", "Project", "ProjectMember", "Invitation")}
    closed = of["Application"].objects.filter(state__in=CLOSED, project__isnull=False, award__isnull=True)
    for key in set(closed.values_list("project_id", flat=True)):
        project = of["Project"].objects.get(pk=key)
        others = project.applications.exclude(state__in=CLOSED).exists() or project.members.count() > 1
        if others or project.allocations.exists():
            continue
        project.applications.update(project=None)
        project.invitations.all().delete()
        project.members.all().delete()
        project.delete()


class Migration(migrations.Migration):
    dependencies = [("access", "0002_invitation")]
    operations = [migrations.RunPython(drop_empty, migrations.RunPython.noop)]
