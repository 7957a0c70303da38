"""Datasets: made known, and bound to a place by a decision that leaves a record."""

from __future__ import annotations

from django.db import transaction

from fabrique.apps.audit import services as audit
from fabrique.apps.catalogue.models import Dataset
from fabrique.apps.people.models import Organisation
from fabrique.apps.this_hub import this_hub
from fabrique.core import sovereignty
from fabrique.core.errors import FabriqueError


def register(
    dataset_id: str,
    title: str,
    owner: Organisation,
    data_class: str,
    origin: str,
    *,
    now: int,
    cloud_act_free: bool = False,
) -> Dataset:
    """Makes a dataset known under `dataset_id`, which jobs name. Raises `request.broken` for an unknown class."""
    if data_class not in sovereignty.CLASSES:
        raise FabriqueError("request.broken", field="data_class", why="unknown")
    return Dataset.objects.create(
        id=dataset_id,
        title=title,
        owner=owner,
        data_class=data_class,
        origin=origin,
        cloud_act_free=cloud_act_free,
        created_ms=now,
    )


@transaction.atomic
def bind(dataset_id: str, subject: str, *, now: int, moment: str = "binding") -> sovereignty.Decision:
    """Asks every rule of the dataset at this hub and records the trace. Raises `dataset.missing`."""
    dataset = Dataset.objects.filter(id=dataset_id).first()
    if dataset is None:
        raise FabriqueError("dataset.missing", dataset=dataset_id[:80])
    data = sovereignty.Data(
        dataset.data_class,
        dataset.origin or None,
        dataset.cloud_act_free,
        tuple(sovereignty.Agreement(a["site"], a["from_ms"], a["to_ms"]) for a in dataset.agreements),
    )
    decision = sovereignty.decide(data, this_hub().place(now), now)
    trace = [r.as_json() for r in decision.trace]
    audit.sovereignty(moment, f"dataset:{dataset_id} {subject}", decision.verdict.value, trace, now=now)
    return decision
