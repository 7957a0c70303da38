"""What the shape of a mode's file can't say: sources that exist, names that resolve, bounds the right way round."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from fabrique.definitions import mode_file as f
from fabrique.definitions import mode_lists
from fabrique.definitions.complaints import Complaint
from fabrique.definitions.yaml import Document, FieldPath

_NEEDS_SOURCE: Final = ("seed", "sourced", "derived")


def complaints(document: Document, shape: f.ModeFile) -> Iterable[Complaint]:
    yield from _sources(document, shape)
    yield from _references(document, shape)
    yield from _zones(document, shape)
    yield from _bounds(document, shape)
    if shape.valid_to is not None and shape.valid_to <= shape.valid_from:
        yield document.complaint(("valid_to",), "hub.dates")
    if shape.commercial and shape.rate.value == "free":
        yield document.complaint(("rate", "value"), "value.refused", why="a commercial mode has a rate")


def _sources(document: Document, shape: f.ModeFile) -> Iterable[Complaint]:
    for name, value in shape.policy():
        if value.status in _NEEDS_SOURCE and not value.sources():
            yield document.complaint((name, "status"), "hub.source-missing")
        if value.status == "assumption" and value.note is None:
            yield document.complaint((name, "status"), "value.missing", key="note")
        if (value.value is None) != (value.status == "not-found"):
            yield document.complaint(
                (name, "status"), "value.refused", why="not-found goes with null, and only with it"
            )
        for source in value.sources():
            if source not in shape.sources:
                yield document.complaint((name, "source"), "hub.source-unknown", id=source)


def _references(document: Document, shape: f.ModeFile) -> Iterable[Complaint]:
    for i, entry in enumerate(shape.form.value):
        if isinstance(entry, str) and entry not in mode_lists.fields():
            yield document.complaint(("form", "value", i), "hub.unknown-reference", kind="field", id=entry)
    for i, question in enumerate(shape.ethics.value):
        if isinstance(question, str) and question not in mode_lists.questions():
            yield document.complaint(("ethics", "value", i), "hub.unknown-reference", kind="question", id=question)
    if shape.calendar not in mode_lists.calendars():
        yield document.complaint(("calendar",), "hub.unknown-reference", kind="calendar", id=shape.calendar)
    named = (
        [x.id for x in mode_lists.fields_of(shape)],
        [x.id for x in mode_lists.questions_of(shape)],
        [x.id for x in shape.duties.value],
    )
    for key, ids in zip(("form", "ethics", "duties"), named, strict=True):
        for repeated in sorted({i for i in ids if ids.count(i) > 1}):
            yield document.complaint((key, "value"), "hub.duplicate-id", id=repeated)


def _zones(document: Document, shape: f.ModeFile) -> Iterable[Complaint]:
    places: list[tuple[FieldPath, str]] = [(("zone",), shape.zone)]
    if isinstance(shape.cut_offs.value, f.CutOffs):
        places.append((("cut_offs", "value", "zone"), shape.cut_offs.value.zone))
        dates = shape.cut_offs.value.dates
        if any(later <= earlier for earlier, later in pairwise(dates)):
            yield document.complaint(
                ("cut_offs", "value", "dates"), "value.refused", why="cut-offs go forwards in time"
            )
    for path, name in places:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # no such zone; a path that climbs; a folder
            yield document.complaint(path, "hub.timezone", timezone=name)


def _bounds(document: Document, shape: f.ModeFile) -> Iterable[Complaint]:
    for name in ("size_acc_h", "size_core_h", "size_qpu_h"):
        hours = getattr(shape, name).value
        if hours and hours.least is not None and hours.most is not None and hours.most < hours.least:
            yield document.complaint((name, "value"), "value.bound", bound=f"most ≥ {hours.least}")
    for i, entry in enumerate(shape.form.value):
        if not isinstance(entry, str) and (entry.kind == "choice") != bool(entry.choices):
            yield document.complaint(("form", "value", i), "value.refused", why="choices go with the kind choice")
