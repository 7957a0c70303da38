"""`fabrique serve`, `operate`, `up`: the portal, the control loop, and both together in the foreground."""

from __future__ import annotations

import errno
import gc
import http.client
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fabrique.cli import context, home, output
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.this_hub import ThisHub
    from fabrique.language.say import Speaker
    from fabrique.operate.loop import Turn

log = logging.getLogger("fabrique.loop")
app = typer.Typer()
ADDRESS = typer.Option("--address", help="Where the portal listens (else the deployment's).")
PORT = typer.Option("--port", min=1, max=65_535, help="The portal's port (else the deployment's).")
LOOPBACK, DEFAULT_PORT = "127.0.0.1", 8000  # as a new deployment has them
WORKERS: Final = 2
THREADS: Final = 16
READY_WITHIN_S: Final = 60.0
MADE_BETWEEN: Final = 100_000  # objects, between two searches for garbage in the loop's process


@command(app, "serve")
def serve(call: Call, address: Annotated[str | None, ADDRESS] = None, port: Annotated[int | None, PORT] = None) -> None:
    """Run the portal until TERM or Ctrl-C."""
    desk = context.enter(call)
    portal = desk.here.deployment.portal
    listening = listen(address or portal.address, port or portal.port)
    if call.json:
        output.event({"event": "listening", "address": home.address(desk.here, port)})
    run_portal(listening)


@command(app, "operate")
def operate(call: Call, once: Annotated[bool, typer.Option("--once", help="One turn, then stop.")] = False) -> None:
    """Run the control loop until TERM or Ctrl-C; a line for each thing that happens."""
    desk = context.enter(call)
    from threading import Event

    from fabrique.operate import loop as turning
    from fabrique.operate.supervise import stop_on_signals

    stop = Event() if once else stop_on_signals()
    teller = Teller(desk)
    watch = Deployed(desk.here)

    def told(turn: Turn) -> None:
        teller.tell(turn)
        if once:
            stop.set()

    teller.say("started")
    while not stop.is_set():
        turning.run(open_loop(watch.here), stop, on_turn=told, until=watch.changed)
    teller.say("ended")


@command(app, "up")
def up(
    call: Call,
    hub: Annotated[str | None, home.HUB] = None,
    port: Annotated[int | None, PORT] = None,
) -> None:
    """Open a hub: make its home where there is none, run portal and control loop, stay until Ctrl-C or TERM."""
    from fabrique.operate.supervise import Supervisor, stop_on_signals

    steps = Steps(call)
    if not context.is_hub(context.home_of(call, hub)):
        listen(LOOPBACK, port or DEFAULT_PORT).close()  # before anything is made
    with steps.doing(steps.say.text("Opening the hub: home, keys, database, first entry")):
        place, here = home.found(call, hub, port or DEFAULT_PORT)
    say = context.speaker(call, here)
    port = port or here.deployment.portal.port
    listen(here.deployment.portal.address, port).close()
    steps.done(say.text("{hub} has its home in {home}.", hub=here.hub.id, home=place))
    steps.done(home.isolation_sentence(say, here))
    stop = stop_on_signals()
    both = Supervisor(tasks(place, port, call), lambda name, what, pause: steps.child(name, what, pause))
    both.start()
    try:
        with steps.doing(say.text("Starting portal and control loop")):
            began = time.monotonic()
            ready = both.watch(stop, lambda: answers(here, port) or time.monotonic() - began > READY_WITHIN_S)
        if ready and not answers(here, port):
            steps.done(say.text("The portal does not answer yet."))
        if ready:
            welcome(call, here, say, port)
        both.watch(stop)
    finally:
        both.stop()
    steps.done(say.text("Stopped. It ended no job: the next start takes up those that still run."))


# --- the portal ---------------------------------------------------------------------------------------------------


def listen(address: str, port: int) -> socket.socket:
    """A socket bound to the address, that says at once whether it may. Raises `port.busy`, `port.refused`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise FabriqueError("port.busy", port=port) from None
        raise FabriqueError("port.refused", address=address, port=port, why=error.strerror or str(error)) from None
    return made


def run_portal(listening: socket.socket) -> None:
    """The web server on a socket that listens already; returns by the end of the process."""
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

    from fabrique.portal.web_worker import DiscreetLogger, PatientWorker

    options = {
        "bind": f"fd://{listening.fileno()}",
        "workers": WORKERS,
        "worker_class": PatientWorker,
        "logger_class": DiscreetLogger,
        "threads": THREADS,
        "keepalive": 5,
        "sendfile": False,
        "preload_app": True,
        "graceful_timeout": 5,
        "timeout": 60,
        "control_socket_disable": True,
        "loglevel": "warning",
        "limit_request_line": 8190,
        "forwarded_allow_ips": "127.0.0.1,::1",
    }

    class Portal(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
        def load_config(self) -> None:
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Callable[..., Any]:
            from fabrique.portal.wsgi import application

            return application

    os.set_inheritable(listening.fileno(), True)
    Portal().run()


def answers(here: ThisHub, port: int) -> bool:
    """Whether the portal answers at /healthz."""
    try:
        asked = http.client.HTTPConnection(here.deployment.portal.address, port, timeout=2)
        asked.request("GET", "/healthz")
        return asked.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False


# --- the loop -----------------------------------------------------------------------------------------------------


class Deployed:
    """What the deployment's file says, which an operator may change while the loop runs: a cap, a partition.

    One that can't be read is told once, and what it said before holds.
    """

    def __init__(self, here: ThisHub) -> None:
        self.here = here
        self._told = ""

    def changed(self) -> bool:
        """Whether `here` is another than before. Raises `home.missing`."""
        from fabrique.apps.this_hub import this_hub

        try:
            now = this_hub()
        except FabriqueError as error:
            if error.code == "home.missing":
                raise
            if str(error) != self._told:
                log.warning("the deployment is not taken as it is now: %s", error)
            self._told = str(error)
            return False
        if now.deployment == self.here.deployment:
            return False
        self.here = now
        return True


def open_loop(here: ThisHub) -> Any:
    """A control loop with the engines and meters of this machine, for this process to run.

    Raises `home.broken` where a wall is missing.
    """
    from fabrique.apps.now import now_ms
    from fabrique.engines.isolation import detect
    from fabrique.meters import detect as meters
    from fabrique.meters.modelled import CoreModel
    from fabrique.operate import engines
    from fabrique.operate.cluster_metering import ClusterMetering
    from fabrique.operate.loop import Loop
    from fabrique.operate.metering import Metering
    from fabrique.operate.steady import since_boot_ms

    gc.freeze()  # a turn's rows live until its end: to search them over and over took a quarter of it
    gc.set_threshold(MADE_BETWEEN)
    isolation = detect(here.home, engines.exposed())
    if cluster := here.deployment.cluster:
        slurm = engines.cluster_engine(here, cluster)
        return Loop(
            here, {cluster.engine: slurm}, ClusterMetering(here, cluster, slurm.nodes), now_ms, steady=since_boot_ms
        )
    model = CoreModel(here.core_idle_w, here.core_max_w, here.model_error_permille)
    metering = Metering(meters.present(meters.discover(model)), here)
    return Loop(here, engines.open_engines(here, isolation), metering, now_ms, steady=since_boot_ms)


class Teller:
    """Says what a turn changed, once: a line for people, or a document a line."""

    def __init__(self, desk: context.Desk) -> None:
        self.desk = desk
        self.leads: bool | None = None
        self.silent: dict[str, str] = {}

    def tell(self, turn: Turn) -> None:
        from fabrique.apps.jobs.services import name_of

        if turn.leader != self.leads:
            self.say("leading" if turn.leader else "standing-by")
            self.leads = turn.leader
        for job in turn.started:
            self.say("job-started", job=job.number if self.desk.call.json else name_of(job))
        if turn.ended:
            self.say("runs-ended", runs=turn.ended)
        for engine in sorted(set(turn.silent) - set(self.silent)):
            self.say("engine-silent", engine=engine)
        if turn.leader:
            self.silent = turn.silent

    def say(self, what: str, **params: object) -> None:
        desk = self.desk
        if desk.call.json:
            return output.event({"event": what, "at_ms": desk.now, **params})
        texts = {
            "started": desk.say.text("The control loop runs."),
            "ended": desk.say.text("The control loop has ended."),
            "leading": desk.say.text("It leads: it decides and acts."),
            "standing-by": desk.say.text("Another loop leads; this one stands by."),
            "job-started": desk.say.text("Job {job} starts."),
            "runs-ended": desk.say.text("Runs ended: {runs}."),
            "engine-silent": desk.say.text("The engine {engine} does not answer."),
        }
        output.line(f"{desk.say.time(desk.now)}  {texts[what].format(**params)}")
        return None


# --- up -----------------------------------------------------------------------------------------------------------


def tasks(place: Path, port: int, call: Call) -> list[Any]:
    """Portal and loop, each the command itself in a process of its own."""
    from fabrique.operate.supervise import Task

    shared = ["--home", str(place), *(["--language", call.language] if call.language else [])]
    shared += ["--json"] if call.json else []
    program = [sys.executable, "-m", "fabrique.cli", *shared]
    return [Task("portal", [*program, "serve", "--port", str(port)]), Task("loop", [*program, "operate"])]


def welcome(call: Call, here: ThisHub, say: Speaker, port: int) -> None:
    """Where it is, how its operator comes in, and what a stranger does first."""
    from fabrique.apps.now import now_ms
    from fabrique.apps.people import services as people
    from fabrique.operate import founding

    where = home.address(here, port)
    link = home.link(here, people.make_sign_in_link(founding.operator(), now=now_ms()), port)
    if call.json:
        return output.event({"event": "ready", **home.described(here), "address": where, "sign_in": link})
    output.line()
    output.pairs(
        [
            (say.text("Portal"), where),
            (say.text("Sign in once, as the operator"), link),
            (say.text("Apply for time"), f"{where}/apply"),
            (say.text("The same on the command line"), context.command_line(here.home, None, "apply")),
        ]
    )
    output.line(say.text("Ctrl-C stops it."), "dim")
    return None


class Steps:
    """Progress of `up`: a spinner on a terminal, plain lines elsewhere, documents with --json."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.say = context.speaker(call)

    def doing(self, text: str) -> Any:
        if self.call.json:
            from contextlib import nullcontext

            return nullcontext()
        return output.working(text)

    def done(self, text: str) -> None:
        if not self.call.json:
            output.line(text)

    def child(self, name: str, what: str, pause: float) -> None:
        if self.call.json:
            return output.event({"event": f"{name}-{what}", "pause_ms": round(pause * 1000)})
        who = {"portal": self.say.text("The portal"), "loop": self.say.text("The control loop")}[name]
        if what == "ended":
            again = self.say.duration(round(pause * 1000))
            return output.line(self.say.text("{who} ended; it is started again in {pause}.", who=who, pause=again))
        return output.line(self.say.text("{who} is started again.", who=who))
