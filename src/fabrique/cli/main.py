"""The command itself: its groups, its common options, and what it answers when something goes wrong."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fabrique import __version__
from fabrique.cli import (
    apply,
    home,
    hub,
    jobs,
    ledger,
    members,
    projects,
    queue,
    role,
    rules,
    serve,
    shared,
    slurm,
    slurm_connect,
    slurm_ingest,
    statement,
    twin,
    twin_log,
)


class Root(TyperGroup):
    """Turns what goes wrong inside any command into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.Abort:
            raise typer.Exit(_failed(KeyboardInterrupt())) from None
        except (Exception, KeyboardInterrupt) as error:
            if type(error).__module__.startswith("typer"):
                raise  # its own: --help, a wrong option, an exit code
            raise typer.Exit(_failed(error)) from None


def _failed(error: BaseException) -> int:
    from fabrique.cli import failures

    return failures.exit_code(error)


app = typer.Typer(
    cls=Root,
    name="fabrique",
    help="Run a sovereign AI compute hub: apply for time, submit jobs, account for every hour, kWh, gram and dollar.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def start(
    home: Annotated[Path | None, shared.HOME] = None,
    acting: Annotated[str | None, shared.ACTING] = None,
    language: Annotated[str | None, shared.LANGUAGE] = None,
    json: Annotated[bool, shared.JSON] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    shared.take(home, acting, language, json, anew=True)
    if version:
        sys.stdout.write(f"fabrique {__version__}\n")
        raise typer.Exit


for room in (home.app, serve.app, apply.app, projects.app, members.app, jobs.app, queue.app, statement.app):
    app.registered_commands += room.registered_commands
app.add_typer(hub.app, name="hub")
app.add_typer(ledger.app, name="ledger")
app.add_typer(role.app, name="role")
app.add_typer(rules.app, name="rules")
slurm.app.registered_commands += slurm_connect.app.registered_commands + slurm_ingest.app.registered_commands
app.add_typer(slurm.app, name="slurm")
twin.app.registered_commands += twin_log.app.registered_commands
app.add_typer(twin.app, name="twin")


def main() -> None:
    """What the installed command runs."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character is no reason to fail
    try:
        app()
    except KeyboardInterrupt:  # before any command began
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(_failed(BrokenPipeError()))
