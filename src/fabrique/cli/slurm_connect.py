"""`fabrique slurm connect`: the cluster that this hub runs on, read from Slurm and written into the deployment.

`fabrique slurm login` says which account there is whose. What is said goes through the Speaker of the desk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fabrique.cli import context, output
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.cli.context import Desk
    from fabrique.operate.connect_again import Difference
    from fabrique.operate.connecting import Described

app = typer.Typer()
Way = Literal["commands", "rest"]
CONF = typer.Option("--conf", metavar="FILE", help="The cluster's slurm.conf.")
BIN = typer.Option("--bin", metavar="DIR", help="Where Slurm's commands are.")
TRANSPORT = typer.Option("--transport", help="How the hub reaches Slurm: its commands, or its REST daemon.")
REST_URL = typer.Option("--rest-url", metavar="URL", help="Address of slurmrestd.")
REST_KEY = typer.Option("--rest-key", metavar="FILE", help="File with the key that signs its tokens (HS256).")
REST_USER = typer.Option("--rest-user", metavar="LOGIN", help="For whom the tokens are made: a Slurm administrator.")
KIND = typer.Option("--kind", metavar="TYPE=KIND", help="What a GPU type of Slurm's is in our catalogue.")
CAP = typer.Option("--cap-w", min=1, help="Power cap at the facility meter, in W (else what everything draws at most).")
RUN_AS = typer.Option(
    "--run-as", help="Whose the hub's jobs are: its own user's, or each person's login (root: login)."
)
CLOSED = typer.Option("--closed", help="While the hub is silent, submissions are refused (else they pass).")
AHEAD = typer.Option("--look-ahead", min=0, max=3_600, help="Seconds for which planned jobs are released ahead.")
RUNS = typer.Option(
    "--runs", metavar="DIR", help="Where the hub's jobs start and write; nodes share it (else its home)."
)
AGAIN = typer.Option(
    "--again", help="Read anew what Slurm says; what else stands in fabrique.toml stays, but for what you name here."
)
DRY = typer.Option("--dry-run", help="Say what would be written, and write nothing.")


@command(app, "connect")
def connect(
    call: Call,
    conf: Annotated[Path, CONF],
    binaries: Annotated[Path | None, BIN] = None,
    transport: Annotated[Way | None, TRANSPORT] = None,
    rest_url: Annotated[str | None, REST_URL] = None,
    rest_key: Annotated[Path | None, REST_KEY] = None,
    rest_user: Annotated[str | None, REST_USER] = None,
    kind: Annotated[list[str] | None, KIND] = None,
    cap_w: Annotated[int | None, CAP] = None,
    run_as: Annotated[Literal["own", "login"] | None, RUN_AS] = None,
    closed: Annotated[bool, CLOSED] = False,
    look_ahead: Annotated[int | None, AHEAD] = None,
    runs: Annotated[Path | None, RUNS] = None,
    again: Annotated[bool, AGAIN] = False,
    dry_run: Annotated[bool, DRY] = False,
) -> None:
    """Run this hub on a Slurm cluster: read what it has, write it into fabrique.toml, open its hours in the ledger."""
    desk = context.enter(call)
    from fabrique.apps.people import rights
    from fabrique.operate import connect_again, connecting

    rights.require(desk.person, "cluster.provision", now=desk.now)
    before = desk.here.deployment.cluster
    if before is not None and not (again or dry_run):
        raise FabriqueError("cluster.connected", cluster=before.cluster)
    as_root = os.geteuid() == 0
    if as_root and (run_as or (before.run_as if before else None)) == "own":
        raise FabriqueError("cluster.root")
    options: dict[str, object] = {
        "bin": _absolute(binaries), "transport": transport, "rest_url": rest_url, "rest_key": _absolute(rest_key),
        "rest_user": rest_user, "run_as": run_as, "door": "closed" if closed else None, "runs": _absolute(runs),
        "look_ahead_s": look_ahead,
    }  # fmt: skip
    named = {name: value for name, value in options.items() if value is not None}
    named_kinds = kinds_of(kind or ())
    asked = connecting.Asked(
        conf=conf.absolute(),
        binaries=(binaries or (Path(before.bin) if before else connecting.BINARIES)).absolute(),
        kinds={**connect_again.kinds_in(before), **named_kinds},
        cap_w=cap_w,
        more={"run_as": "login" if as_root else "own", **named},
    )
    found = connecting.describe(desk.here, asked)
    changed: Sequence[Difference] | None = None
    if before is not None:
        given = {"conf", *named, *(() if cap_w is None else ("cap_w",))}
        cluster = connect_again.kept(before, found.cluster, given, found.longest, named_kinds)
        found, changed = replace(found, cluster=cluster), connect_again.differences(before, cluster)
    if not dry_run:
        connecting.connect(desk.here, found.cluster, now=desk.now)
    tell(desk, found, changed, dry_run=dry_run)


@command(app, "login")
def login(
    call: Call,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Who it is, in the hub.")],
    name: Annotated[str, typer.Argument(metavar="LOGIN", help="Their account on the cluster; '' takes it away.")],
) -> None:
    """Say under which login a person works on the cluster. Accounts there follow with `fabrique slurm apply`."""
    desk = context.enter(call)
    from fabrique.apps.audit import services as audit
    from fabrique.apps.people import rights
    from fabrique.apps.people import services as people

    rights.require(desk.person, "cluster.provision", now=desk.now)
    person = people.find_person(email)
    people.set_login(person, name)
    detail = {"login": name}
    audit.record(str(desk.person.id), "person.login", f"person:{person.id}", now=desk.now, detail=detail)
    if desk.call.json:
        return output.document({"person": str(person.id), "login": person.login})
    output.line(desk.say.text("{person} is {login} on the cluster.", person=str(person), login=person.login or "–"))
    return output.hint("→", desk.command("slurm apply"))


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def kinds_of(given: Sequence[str]) -> Mapping[str, str]:
    """Raises `cluster.kind-form` for what is no TYPE=KIND."""
    pairs = {}
    for text in given:
        gres, equals, kind = text.partition("=")
        if not (equals and gres and kind):
            raise FabriqueError("cluster.kind-form", given=text[:80])
        pairs[gres.removeprefix("gpu:")] = kind
    return pairs


def tell(desk: Desk, found: Described, changed: Sequence[Difference] | None, *, dry_run: bool) -> None:
    """`changed`: what is other than it stood in the file; None where nothing stood there."""
    cluster, say = found.cluster, desk.say
    if desk.call.json:
        told = {"written": not dry_run, "left": list(found.left), "cluster": cluster.model_dump(mode="json")}
        return output.document(told if changed is None else {**told, "changed": [asdict(d) for d in changed]})
    head = [
        say.text("Partition"),
        say.text("Slurm's partitions"),
        say.text("Nodes"),
        say.text("Devices a node"),
        say.text("Cores a node"),
        say.text("Draw at most, W"),
    ]
    output.table(head, [_row(desk, p) for p in cluster.partitions], numbers=(2, 3, 4, 5))
    if found.left:
        names = ", ".join(found.left)
        output.line(say.text("Left out, since their nodes are counted elsewhere: {partitions}.", partitions=names))
    if changed is not None:
        _tell_changed(desk, changed)
    if dry_run:
        return output.line(say.text("Nothing was written."))
    if changed is not None:
        return output.hint(
            say.text("The door counts as before until you install it anew:"), desk.command("slurm install")
        )
    output.line(
        say.text(
            "The hub now runs on the cluster {cluster}, under a cap of {cap} (assumed)."
            " What is assumed stands in {file}: correct it there.",
            cluster=cluster.cluster,
            cap=say.power(cluster.cap_w),
            file=str(desk.here.home / "fabrique.toml"),
        )
    )
    return output.hint("→", desk.command("slurm apply"))


def _tell_changed(desk: Desk, changed: Sequence[Difference]) -> None:
    say = desk.say
    if not changed:
        return output.line(say.text("fabrique.toml says all of it already."))
    head = (say.text("in fabrique.toml"), say.text("before"), say.text("now"))
    return output.table(head, [(d.key, d.before or "–", d.after or "–") for d in changed])


def _row(desk: Desk, p: Any) -> tuple[object, ...]:
    most = p.nodes * p.node_w
    devices = f"{p.devices} × {desk.say.kinds.get(p.kind, p.kind)}" if p.devices else "–"
    return (
        p.id,
        ", ".join(p.names),
        desk.say.number(p.nodes),
        devices,
        desk.say.number(p.cores),
        desk.say.number(most),
    )
