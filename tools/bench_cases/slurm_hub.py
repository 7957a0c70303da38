"""A hub on a lab's Slurm, as an operator makes one: two projects in two pools of half each, accounts, door, licences.

Run as a program, it founds the hub and then is its control loop, until TERM:
`python -m tools.bench_cases.slurm_hub HOME SLURM.CONF CAP_W LOGIN,LOGIN`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.bench_cases.figure import Figure

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

    from fabrique.apps.people.models import Person
    from fabrique.apps.this_hub import ThisHub
    from fabrique.operate.loop import Turn

ROOT: Final = Path(__file__).parents[2]
HUB: Final = "ca-lasalle-hub"
MODES: Final = ("lasalle_startup", "lasalle_research")  # of the pools startup and research
DEVICE: Final = "h100-sxm"
GPU: Final = "h100"  # Slurm's name of it
HOURS: Final = 2_000
PLAIN_MW: Final = 100_000
READY: Final = "ready.json"  # the file in the home that says so
# A door that lets everybody in, until the hub's own is installed: Slurm reads it again when it changed.
DOOR: Final = "\n".join(f"function slurm_job_{what}() return slurm.SUCCESS end" for what in ("submit", "modify"))


def away(what: str) -> Figure | None:
    """The row that says so, where Slurm's parts are not installed."""
    from tools.slurm_lab import packages

    lacking = packages.missing()
    note = f"Slurm is not whole here: {' '.join(lacking)}"
    return Figure(what=what, value=None, unit="", note=note) if lacking else None


def definition(folder: Path) -> Path:
    """The hub's own file, but for its shares: half for startups, half for research."""
    text = (ROOT / "src/fabrique/definitions/data/hubs" / f"{HUB}.yaml").read_text(encoding="utf-8")
    for pool, before, after in (("startup", 300_000, 500_000), ("commercial", 200_000, 0)):
        line = f"machines.lasalle.shares.{pool}.ppm\n    value: {before}\n"
        if line not in text:
            raise RuntimeError(f"the hub {HUB} says otherwise what {pool} has")
        text = text.replace(line, line.replace(str(before), str(after)))
    path = folder / f"{HUB}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def prepare(home: Path) -> None:
    """Django with this home; once a process."""
    os.environ["FABRIQUE_HOME"], os.environ["DJANGO_SETTINGS_MODULE"] = str(home), "fabrique.portal.settings"
    os.environ.pop("FABRIQUE_DATABASE_URL", None)
    import django

    django.setup()


def found(
    home: Path, conf: Path, cap_w: int, logins: Sequence[str], kind: str = DEVICE, **more: Any
) -> tuple[ThisHub, list[str]]:
    """The hub, connected, its files installed; and the account that each of two logins has. `more`: of `Cluster`."""
    from fabrique.apps.now import now_ms
    from fabrique.apps.people import services as people
    from fabrique.operate import cluster_files, connecting, founding, provision

    founding.make_home(home, str(definition(home.parent)), port=8000, now=now_ms())
    here = founding.found(now=now_ms())
    kept = {"run_as": "login" if os.geteuid() == 0 else "own", **more}
    way = {name: kept.pop(name) for name in ("transport", "rest_url", "rest_key", "rest_user") if name in kept}
    asked = connecting.Asked(conf=conf, kinds={GPU: DEVICE}, cap_w=cap_w, more=kept, **way)
    here = connecting.connect(here, connecting.describe(here, asked).cluster, now=now_ms())
    desk = people.create_person("Desk", "desk@bench.example", now=now_ms())
    office = people.create_organisation("Desk", "public-body", "CA", now=now_ms())
    people.grant_role(desk, "coordinator", office, now=now_ms())
    # one login may stand for both where all is one user's: people have logins of their own
    persons = [
        people.create_person(f"P{i}", f"p{i}@bench.example", now=now_ms(), login=login if i < len(set(logins)) else "")
        for i, login in enumerate(logins)
    ]
    codes = [_project(mode, person, desk, kind) for mode, person in zip(MODES, persons, strict=True)]
    operator = founding.operator()
    made = provision.apply(here, operator, now=now_ms())
    if made.refused:
        raise RuntimeError(f"Slurm refused {made.refused[0].change}: {made.refused[0].why}")
    (conf.parent / "job_submit.lua").unlink()
    files = cluster_files.install(here, operator, None, cluster_files.Nodes(), now=now_ms())
    if files.refused:
        raise RuntimeError(f"no licences: {files.refused}")
    return here, codes


def opened(here: ThisHub, codes: Sequence[str]) -> Opened:
    from fabrique.operate.provision import cluster_of

    cluster = cluster_of(here)
    nodes = cluster.partitions[0]
    most = (nodes.device_w * cluster.pue_permille, nodes.core_w * cluster.pue_permille)
    room = cluster.cap_w * 1000 - nodes.nodes * nodes.idle_w * cluster.pue_permille
    return Opened(tuple(codes), *most, room)


def _project(mode_id: str, person: Person, desk: Person, kind: str) -> str:
    """What it is called on the cluster too."""
    from fabrique.apps.access import services as access
    from fabrique.apps.now import now_ms
    from fabrique.apps.people import services as people

    research = "research" in mode_id
    sort = "researcher" if research else "startup"
    people.join(person, people.create_organisation(person.name, sort, "CA", now=now_ms()), now=now_ms())
    mode = access.find_mode(mode_id, now=now_ms())
    form: dict[str, object] = {
        "title": "Bench", "summary": "s", "need": "n", "method": "m", "supervisor": "s", "organisation_kind": sort,
        "country": "CA", "founded": "2025-01-01", "staff": "5", "turnover": "1", "kind": kind, "hours": str(HOURS),
        "months": "1", "civilian": "yes", "data_class": "public", "confidential": "no",
    }  # fmt: skip
    form = {name: value for name, value in form.items() if mode.field(name)}
    form |= {f"ethics.{q.id}": "yes" if q.settled else "no" for q in mode.ethics}
    done = access.submit(access.save_draft(person, mode.id, form, now=now_ms()), person, now=now_ms())
    if done.state == "submitted":
        done = access.decide(done, desk, True, "for the bench", now=now_ms())
    if done.project is None or done.state != "awarded":
        raise RuntimeError(f"{mode_id}: {done.state}")
    return done.project.code


@dataclass(frozen=True, slots=True)
class Opened:
    """What the hub made of the cluster: an account a login; watts of a device and a core in use at the facility meter,
    in thousandths, above what idles.
    """

    accounts: tuple[str, ...]
    device_mw: int
    core_mw: int
    room_mw: int  # what the cap leaves above what idles

    def milliwatts(self, devices: int, cores: int) -> int:
        return devices * self.device_mw + cores * self.core_mw

    @property
    def licences(self) -> int:
        """How many the other side has for the same cap, of 100 W, as a site makes them by hand."""
        return self.room_mw // PLAIN_MW

    def units(self, devices: int, cores: int) -> int:
        """How many of those a job takes."""
        return -(-self.milliwatts(devices, cores) // PLAIN_MW)


@contextmanager
def operating(
    lab: SlurmLab, home: Path, cap_w: int, logins: Sequence[str], log: Path, program: str = __name__
) -> Iterator[Opened]:
    """The hub and its loop as a process of their own, while the block runs; `program` is a module run like this."""
    command = [sys.executable, "-m", program, str(home), str(lab.conf), str(cap_w), ",".join(logins)]
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 240
        while not (home / READY).exists():
            if child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the hub did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        told = json.loads((home / READY).read_text())
        yield Opened(**{**told, "accounts": tuple(told["accounts"])})
        if child.poll() is not None:
            raise RuntimeError(f"the hub ended by itself:\n{log.read_text(errors='replace')[-2000:]}")
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def main(home: Path, conf: Path, cap_w: int, logins: Sequence[str]) -> None:
    prepare(home)
    here, codes = found(home, conf, cap_w, logins)
    turn(here, codes, lambda _: None)


def turn(here: ThisHub, codes: Sequence[str], on_turn: Callable[[Turn], None]) -> None:
    """The loop, until TERM; the first turn says that the hub is ready."""
    from fabrique.cli.serve import open_loop
    from fabrique.operate import loop
    from fabrique.operate.supervise import stop_on_signals

    def told(done: Turn) -> None:
        on_turn(done)
        if not ready.exists():
            draft.write_text(json.dumps(asdict(opened(here, codes))))
            draft.replace(ready)

    ready, draft = here.home / READY, here.home / "draft"
    loop.run(open_loop(here), stop_on_signals(), on_turn=told)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(","))
