"""`fabrique hub`: the definitions of hubs. Needs no home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabrique.cli import output
from fabrique.cli.context import is_file, speaker
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.core.hub import Hub
    from fabrique.language.say import Speaker

app = typer.Typer(help="Definitions of hubs: those that come with the program, and your own.", no_args_is_help=True)


@command(app, "list")
def list_hubs(call: Call) -> None:
    """List the hubs that come with the program."""
    from fabrique.definitions import hubs

    found = [hubs.load_builtin(hub_id) for hub_id in hubs.builtin()]
    rows = [_summary(hub) for hub in found]
    if call.json:
        return output.document({"hubs": rows})
    say = speaker(call)
    head = [say.text("id"), say.text("name"), say.text("country"), say.text("phase"), say.text("devices")]
    head += [say.text("not published"), say.text("assumptions")]
    output.table(head, [_row(say, row) for row in rows], numbers=(4, 5, 6))
    return output.hint(say.text("One hub in full, with its sources:"), "fabrique hub show ID")


@command(app, "show")
def show(
    call: Call, hub: Annotated[str, typer.Argument(metavar="ID", help="A hub's id, or a definition's file.")]
) -> None:
    """Show a definition: each value with its source and status, what is not published, what is assumed and why."""
    found = _load(hub)
    facts = list(_facts(found))
    if call.json:
        return output.document({"hub": _summary(found), "facts": facts, "conflicts": list(found.conflicts)})
    say = speaker(call)
    output.line(f"{found.name.best or found.id} ({found.id})", "bold")
    head = [say.text("value"), say.text("what is known"), say.text("source (status), or why it is assumed")]
    output.table(head, [(f["path"], _said(say, f), _origin(say, f)) for f in facts])
    if found.conflicts:
        output.line(say.text("Where sources disagree:"), "bold")
        for text in found.conflicts:
            output.line(f"- {text}")
    return output.hint(say.text("Open it:"), f"fabrique up --hub {hub}")


@command(app, "check")
def check(call: Call, file: Annotated[str, typer.Argument(metavar="FILE", help="A definition's YAML file.")]) -> None:
    """Check a definition: every complaint at its file and line, exit code 2; nothing to complain about, 0."""
    from fabrique.definitions import hubs

    found, complaints = hubs.load(file)
    if found is None:
        raise FabriqueError("definition.broken", file=file, complaints=complaints)
    if call.json:
        return output.document({"file": file, "complaints": [], "hub": _summary(found)})
    say = speaker(call)
    counted = {k: v for k, v in _summary(found).items() if k in ("id", "nulls", "assumptions")}
    right = say.text(
        "{file} is right: hub {id}, values not published: {nulls}, assumptions: {assumptions}.", file=file, **counted
    )
    output.line(right)
    return output.hint(say.text("Open it:"), f"fabrique up --hub {file}")


@command(app, "new")
def new(
    call: Call,
    hub: Annotated[str, typer.Argument(metavar="ID", help="Small letters, digits and hyphens.")],
    target: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write there; an existing file stays as it is.")
    ] = None,
) -> None:
    """Write a commented definition to start your own hub from."""
    from fabrique.definitions.template import new_hub

    text = new_hub(hub)
    if target is None:
        if call.json:
            return output.document({"id": hub, "definition": text})
        return output.raw(text)
    output.write_new(target, text.encode())
    if call.json:
        return output.document({"id": hub, "file": str(target)})
    say = speaker(call)
    output.line(say.text("{file} is written.", file=target))
    return output.hint(say.text("After your changes:"), f"fabrique hub check {target}")


# --- steps ------------------------------------------------------------------------------------------------------


def _load(hub: str) -> Hub:
    from fabrique.definitions import hubs

    if not is_file(hub):
        return hubs.load_builtin(hub)
    found, complaints = hubs.load(hub)
    if found is None:
        raise FabriqueError("definition.broken", file=hub, complaints=complaints)
    return found


def _summary(hub: Hub) -> dict[str, Any]:
    from fabrique.core import hub as shape

    counts = [p.devices for p in hub.partitions if p.device != "core"]
    return {
        "id": hub.id,
        "name": hub.name.best,
        "operator": hub.operator.best,
        "country": hub.jurisdiction,
        "phase": hub.phase,
        "currency": hub.currency,
        "languages": list(hub.languages),
        "sites": [site.id for site in hub.sites],
        "machines": [machine.id for machine in hub.machines],
        "pools": [pool.id for pool in hub.pools],
        "devices": sum(n for n in counts if n) if any(counts) else None,
        "nulls": shape.nulls(hub),
        "assumptions": len(hub.assumptions),
    }


def _row(say: Speaker, row: dict[str, Any]) -> tuple[object, ...]:
    devices = say.text("not published") if row["devices"] is None else say.number(row["devices"])
    phase = say.word("phase", row["phase"])
    return row["id"], row["name"], row["country"], phase, devices, row["nulls"], row["assumptions"]


def _facts(hub: Hub) -> Any:
    from fabrique.core import hub as shape

    for path, fact in shape.walk(hub):
        yield {
            "path": path,
            "value": _plain(fact.value),
            "source": list(fact.source),
            "status": fact.status,
            "note": fact.note,
            "assumed": _plain(fact.assumed),
            "why": fact.why,
        }


def _plain(value: object) -> Any:
    """A fact's value as JSON."""
    import dataclasses
    from collections.abc import Mapping

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _said(say: Speaker, fact: dict[str, Any]) -> str:
    if fact["value"] is not None:
        return _flat(fact["value"])
    missing, assumed = say.text("not published"), say.text("assumed:")
    return missing if fact["assumed"] is None else f"{missing} ({assumed} {_flat(fact['assumed'])})"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items() if v not in (None, 0, ""))
    return "; ".join(_flat(v) for v in value) if isinstance(value, list) else str(value)


def _origin(say: Speaker, fact: dict[str, Any]) -> str:
    if fact["value"] is None:
        return str(fact["why"] or "")
    return f"{', '.join(fact['source'])} ({say.word('status', fact['status'])})"
