"""`fabrique init`, `backup`, `restore`, `resume`, `sign-in`: the home of a hub and who enters it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabrique.cli import context, output
from fabrique.cli.shared import Call, command

if TYPE_CHECKING:
    from fabrique.apps.this_hub import ThisHub
    from fabrique.language.say import Speaker

app = typer.Typer()
HUB = typer.Option("--hub", metavar="ID", help="A hub's id, or a definition's file (else HUB).")
PORT = typer.Option("--port", min=1, max=65_535, help="The portal's port.")


@command(app, "init")
def init(call: Call, hub: Annotated[str | None, HUB] = None, port: Annotated[int, PORT] = 8000) -> None:
    """Make a hub's home: keys, deployment, database, first entry, operator. Repeating it changes nothing."""
    home, here = found(call, hub, port)
    if call.json:
        return output.document(described(here))
    say = context.speaker(call, here)
    output.line(say.text("{hub} has its home in {home}.", hub=here.hub.id, home=home))
    output.line(isolation_sentence(say, here))
    return output.hint(say.text("Open it:"), context.command_line(home, None, "up"))


@command(app, "backup")
def backup(call: Call, target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file (tar.gz).")]) -> None:
    """Write database, keys, deployment and records of runs to one file, while the hub runs. Keep it secret."""
    desk = context.enter(call)
    from fabrique.operate.backup import back_up

    manifest = back_up(desk.here.home, target, desk.here.hub.id, now=desk.now)
    size = target.stat().st_size
    if call.json:
        return output.document({"file": str(target), "bytes": size, **manifest, "files": len(manifest["files"])})
    written = desk.say.memory(size)
    output.line(desk.say.text("{file}: {size}. It holds the hub's keys: keep it secret.", file=target, size=written))
    return output.hint(desk.say.text("Back from it:"), desk.command(f"restore {target} --home DIR"))


@command(app, "restore")
def restore(call: Call, source: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")]) -> None:
    """Make a home of a backup. It starts observe-only: it follows what runs and starts nothing until `resume`."""
    home = context.home_of(call)
    context.start_django(home)
    from django.core.management import call_command

    from fabrique.apps.now import now_ms
    from fabrique.operate.backup import restore as bring_back

    manifest = bring_back(source, home, now=now_ms())
    call_command("migrate", interactive=False, verbosity=0)
    if call.json:
        return output.document({"home": str(home), "hub": manifest["hub"], "at_ms": manifest["at_ms"]})
    from fabrique.apps.this_hub import this_hub

    say = context.speaker(call, this_hub())
    made = say.instant(int(manifest["at_ms"]))
    hub = manifest["hub"]
    output.line(say.text("{hub} is restored to {home}, as it was on {made}.", hub=hub, home=home, made=made))
    output.line(say.text("It only observes. What came after that instant is not known to it; runs are followed."))
    output.hint(say.text("Start it:"), context.command_line(home, None, "up"))
    return output.hint(say.text("Then let it act again:"), context.command_line(home, None, "resume"))


@command(app, "resume")
def resume(call: Call) -> None:
    """Let a restored hub act again: take up the runs it forgot, name the gap (operator)."""
    desk = context.enter(call)
    from fabrique.operate.engines import reader
    from fabrique.operate.resume import resume as let_act

    done = let_act(desk.here, reader(desk.here), desk.person, now=desk.now)
    if call.json:
        gap = None
        if done.from_ms is not None:
            gap = {"from_ms": done.from_ms, "to_ms": done.to_ms, "length_ms": done.to_ms - done.from_ms}
        return output.document({"gap": gap, "adopted": list(done.adopted), "unknown": list(done.unknown)})
    say = desk.say
    if done.from_ms is None:
        return output.line(say.text("The hub acts already; nothing was changed."))
    when, length = say.interval(done.from_ms, done.to_ms), say.duration(done.to_ms - done.from_ms)
    output.line(say.text("The hub acts again. It knows nothing of {gap} ({length}).", gap=when, length=length))
    if done.adopted:
        output.line(say.text("Runs taken up, for jobs: {jobs}.", jobs=say.listed([str(n) for n in done.adopted])))
    for intent in done.unknown:
        output.line(say.text("The engine holds {intent}, of which no job is known; it is left to end.", intent=intent))
    return output.hint(say.text("The queue:"), desk.command("jobs --all"))


@command(app, "sign-in")
def sign_in(call: Call) -> None:
    """Print a new one-time link that signs a person in to the portal (see --as)."""
    desk = context.enter(call)
    from fabrique.apps.people import services as people

    address = link(desk.here, people.make_sign_in_link(desk.person, now=desk.now))
    if call.json:
        return output.document({"person": str(desk.person.id), "link": address})
    return output.line(address)


# --- steps, shared with `up` --------------------------------------------------------------------------------------


def found(call: Call, hub: str | None, port: int) -> tuple[Path, ThisHub]:
    """The home, made where there is none. Raises `home.exists` for another hub's."""
    hub = hub or context.hub_of_environment()
    home = context.home_of(call, hub)
    wanted = hub or ("" if context.is_hub(home) else context.DEFAULT_HUB)
    if wanted and context.is_file(wanted):
        wanted = str(Path(wanted).resolve())
    context.start_django(home)
    from fabrique.apps.now import now_ms
    from fabrique.operate import founding

    founding.make_home(home, wanted, port=port, now=now_ms())
    _keep_to_ourselves(home / "fabrique.sqlite3")
    return home, founding.found(now=now_ms())


def _keep_to_ourselves(database: Path) -> None:
    """SQLite gives its journals the mode of the database: others of this machine may pass the home, never read it."""
    from django.db import connection

    if connection.vendor == "sqlite":
        os.close(os.open(database, os.O_WRONLY | os.O_CREAT, 0o600))
        database.chmod(0o600)


def described(here: ThisHub) -> dict[str, Any]:
    """What `init` and `up` say of a hub, as JSON."""
    return {
        "home": str(here.home),
        "hub": here.hub.id,
        "address": address(here),
        "isolation": here.local.isolation,
        "cores": here.cores,
        "accelerators": len(here.local.gpus),
        "cap_w": here.cap_w,
    }


def address(here: ThisHub, port: int | None = None) -> str:
    portal = here.deployment.portal
    host = f"[{portal.address}]" if ":" in portal.address else portal.address
    return f"http://{host}:{port or portal.port}"


def link(here: ThisHub, token: str, port: int | None = None) -> str:
    return f"{address(here, port)}/sign-in/{token}"


def isolation_sentence(say: Speaker, here: ThisHub) -> str:
    """Which wall stands between jobs and the hub."""
    kind = here.local.isolation
    if kind == "none":
        return say.text("Isolation: none. This is a hub for a single trusted user, and refuses other people's jobs.")
    walls = {
        "own-user": say.text("each project's jobs run under their own user"),
        "bubblewrap": say.text("jobs run in bubblewrap"),
        "landlock": say.text("jobs run under Landlock"),
    }
    return say.text("Isolation: {wall}; no job reads the hub's home.", wall=walls[kind])
