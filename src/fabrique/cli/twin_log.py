"""`fabrique twin verify-log`: the loop's decisions taken again from its event log alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fabrique.cli import context, output
from fabrique.cli.shared import Call, command
from fabrique.language.marks import msg

if TYPE_CHECKING:
    from fabrique.language.say import Speaker
    from fabrique.twin.event_log import Divergence, Verified

app = typer.Typer()
CANNOT_RUN: Final = 2
_PARTED: Final = {
    "broken": msg("The line can't be read as one of an event log."),
    "chain": msg("The line was changed, or lines before it are missing: its hash does not follow."),
    "state": msg("The recorded rows give other tables than those that were decided on."),
    "plan": msg("The decision, taken again, gives another plan than the recorded one."),
}


@command(app, "verify-log")
def verify_log(
    call: Call,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Event logs, oldest first (else all of the hub's).")
    ] = None,
) -> None:
    """Take every decision of the loop again, from its event log alone: state and plan must be the same.

    Exit code 0: they all are; 1: the first divergence is named; 2: it can't run.
    """
    from fabrique.cli import failures
    from fabrique.core.errors import FabriqueError

    try:
        found = verified(files or _of_home(call))
    except (FabriqueError, OSError) as error:
        failures.exit_code(error)
        raise typer.Exit(CANNOT_RUN) from None
    if call.json:
        output.document(as_json(found))
    else:
        _tell(context.speaker(call), found)
    raise typer.Exit(0 if found.ok else failures.NO)


def verified(files: list[Path]) -> Verified:
    from fabrique.twin import event_log

    return event_log.verify(files)


def _of_home(call: Call) -> list[Path]:
    """Raises `home.missing`, or `twin.no-log` where nothing was decided yet."""
    from fabrique.core.errors import FabriqueError
    from fabrique.operate.event_log import FOLDER, files

    home = context.home_of(call)
    if not context.is_hub(home):
        raise FabriqueError("home.missing", home=str(home))
    found = files(home / FOLDER)
    if not found:
        raise FabriqueError("twin.no-log", file=str(home / FOLDER))
    return found


def as_json(found: Verified) -> dict[str, object]:
    parted = found.divergence
    return {
        "ok": found.ok,
        "files": found.files,
        "decisions": found.decisions,
        "from_ms": found.from_ms,
        "to_ms": found.to_ms,
        "head": found.head,
        "after": found.after,
        "torn": found.torn,
        "divergence": None
        if parted is None
        else {"file": parted.file, "line": parted.line, "what": parted.what, "at_ms": parted.at_ms},
    }


def _tell(say: Speaker, found: Verified) -> None:
    if found.divergence is not None:
        _tell_divergence(say, found.divergence)
    else:
        text = say.plural(
            "{n} decision, taken again from the log alone: the same state and the same plan.",
            "{n} decisions, taken again from the log alone: the same states and the same plans.",
            found.decisions,
        )
        output.line(text)
    if found.from_ms is not None and found.to_ms is not None:
        output.pairs([(say.text("Period"), f"{say.instant(found.from_ms)} – {say.instant(found.to_ms)}")])
    if found.after is not None:
        output.line(say.text("It goes on from an earlier file, which is not among these."), "dim")
    if found.torn:
        output.line(say.text("Its last line was never finished: the hub stopped while it wrote."), "dim")


def _tell_divergence(say: Speaker, parted: Divergence) -> None:
    output.line(say.text("The log and the decision part at {place}.", place=f"{parted.file}:{parted.line}"), "bold red")
    output.line(say.text(_PARTED[parted.what]))
    if parted.at_ms is not None:
        output.pairs([(say.text("Decided"), say.instant(parted.at_ms))])
