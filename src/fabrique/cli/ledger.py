"""`fabrique ledger`: recompute it, sign its head, and hand out the verifier that needs none of this program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabrique.cli import context, output
from fabrique.cli.context import Desk
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.ledger.verify import Report

app = typer.Typer(help="The ledger: verify it, sign its head, get the single-file verifier.", no_args_is_help=True)
CANNOT_RUN = 2
CHECKPOINT_MOST = 512 * 2**20


@command(app, "verify")
def verify(
    call: Call,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", metavar="FILE", help="An earlier statement or checkpoint; repeat it."),
    ] = None,
) -> None:
    """Recompute everything. Exit code 0: it holds; 1: the first divergence is named; 2: it can't run."""
    from fabrique.cli import failures

    try:
        desk = context.enter(call)
        from fabrique.apps.ledger import verify as ledger

        outside = [c for file in checkpoint or [] for c in ledger.checkpoints_in(_json(file))]
        report = ledger.verify(outside)
    except Exception as error:
        failures.exit_code(error)
        raise typer.Exit(CANNOT_RUN) from None
    _tell(desk, report)
    raise typer.Exit(0 if report.ok else failures.NO)


@command(app, "checkpoint")
def checkpoint(
    call: Call,
    target: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="A new file.")] = None,
) -> None:
    """Sign the ledger's head: JSON to keep elsewhere, for `ledger verify --checkpoint` one day."""
    desk = context.enter(call)
    from fabrique.apps.ledger import services

    made = services.checkpoint_json(services.checkpoint(desk.here.hub.id, now=desk.now))
    if target is None:
        return output.document(made)
    output.write_new(target, json.dumps(made, indent=1).encode() + b"\n")
    return output.document({"file": str(target)}) if call.json else _written(call, target)


@command(app, "verifier")
def verifier(
    call: Call,
    target: Annotated[Path | None, typer.Option("--output", metavar="FILE.py", help="A new file.")] = None,
) -> None:
    """Write the single-file verifier: Python and its cryptography package are all it needs."""
    from importlib.resources import files

    text = (files("fabrique.verifier") / "fabrique_verify.py").read_text(encoding="utf-8")
    if target is None:
        return output.document({"verifier": text}) if call.json else output.raw(text)
    output.write_new(target, text.encode())
    if call.json:
        return output.document({"file": str(target)})
    _written(call, target)
    say = context.speaker(call)
    return output.hint(say.text("Verify a statement or a database with it:"), f"python {target} FILE")


# --- steps ------------------------------------------------------------------------------------------------------


def _json(file: Path) -> Any:
    with file.open("rb") as opened:
        raw = opened.read(CHECKPOINT_MOST + 1)
    if len(raw) > CHECKPOINT_MOST:
        raise FabriqueError("request.too-large", most=CHECKPOINT_MOST)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise FabriqueError("ledger.checkpoint-broken", field=str(file)) from None


def _written(call: Call, target: Path) -> None:
    output.line(context.speaker(call).text("{file} is written.", file=target))


def _tell(desk: Desk, report: Report) -> None:
    if desk.call.json:
        return output.document(report.as_json())
    from fabrique.apps.ledger.verify import UNPROVEN

    say, found = desk.say, report.first_divergence
    counted = {"entries": report.entries, "postings": report.postings, "checkpoints": report.checkpoints_checked}
    if found is None:
        output.line(
            say.text(
                "The ledger holds. Entries: {entries}, postings: {postings}, checkpoints: {checkpoints}.", **counted
            )
        )
    else:
        output.line(say.text("The ledger diverges, first at entry {seq}:", seq=str(found.seq)), "bold red")
        output.pairs((name, value) for name, value in found.as_json().items())
    for code in report.unproven:
        output.line(f"- {say.text(UNPROVEN[code], **report.params)}", "dim")
    return output.hint(
        say.text("Keep a checkpoint elsewhere:"), desk.command("ledger checkpoint --output checkpoint.json")
    )
