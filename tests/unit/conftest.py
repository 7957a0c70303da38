"""A small true story in the ledger: two pools, three allocations, runs that end in every way. Made by the services."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit import lua
from tests.unit.lua import Ask
from tests.unit.slurm_fakes import FakeSlurm, connector

from fabrique.core import booking
from fabrique.core.admission.filter import charges
from fabrique.core.booking import Exhaustion, Frozen, Policy
from fabrique.core.reasons import reason
from fabrique.core.units import HOUR_MS, MG, MJ, MJ_PER_KWH, Amount, Unit

if TYPE_CHECKING:
    from django.test import Client
    from tests.unit.clusters import ClusterBench

    from fabrique.apps.access.models import Allocation, Application, Project
    from fabrique.apps.jobs.models import Job
    from fabrique.apps.people.models import Person
    from fabrique.engines.slurm.engine import SlurmEngine

START = 1_788_220_800_000  # 1 September 2026, 00:00 UTC
CPU, CAD = Unit("core-ms:this-cpu"), Unit("uCAD")
FACTOR = "CA-QC 2023 average unstated consumption (a test's)"
FROZEN = Frozen(35_000, FACTOR, Fraction(40_000), CAD, "cores/1")


@dataclass
class Story:
    """What was told so far; `now` moves on an hour with each act."""

    hub: str = "test-hub"
    now: int = START
    allocations: dict[str, Allocation] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    earlier: dict[str, str] = field(default_factory=dict)  # a checkpoint that left the hub half-way
    open_hold: str = ""

    def tick(self) -> int:
        self.now += HOUR_MS
        return self.now

    def key(self, name: str) -> str:
        return str(self.allocations[name].id)

    def hold(self, name: str, run: int, hours: int) -> object:
        from fabrique.apps.ledger import services

        allocation = self.allocations[name]
        amounts = [Amount(CPU, hours * HOUR_MS), Amount(MJ, hours * MJ_PER_KWH // 10)]
        with services.batch("cycle", {"epoch": run}, now=self.tick()) as acts:
            return acts.hold(self.key(name), allocation.pool, amounts, FROZEN, uuid.uuid5(uuid.NAMESPACE_OID, str(run)))

    def run(self, name: str, run: int, hours: int, used: int, bucket: str = "used", **more: object) -> dict[Unit, int]:
        """Hold, meter, settle: `used` milliseconds of one core at 30 W."""
        from fabrique.apps.ledger import services
        from fabrique.apps.ledger.models import Hold

        hold = self.hold(name, run, hours)
        assert isinstance(hold, Hold)
        energy = used * 30
        actual = charges(used, 1000, energy, CPU, FROZEN)
        detail = {**self.detail(run, used), **more}
        services.write(
            "meter", {}, booking.meter("site", energy + 9_000, energy, 7_000, 1_500, f"w{run}", {}), now=self.tick()
        )
        with services.batch("cycle", {"epoch": run}, now=self.tick()) as acts:
            charged = acts.settle(hold, actual, detail, bucket)
            acts.add(booking.supply("site", energy, str(hold.id), detail))
            acts.add(booking.forecast_variance(actual[MG], actual[MG] + run - 2, str(hold.id), detail))
        return charged

    def detail(self, run: int, used: int) -> dict[str, object]:
        return {
            "run": f"run-{run}",
            "end": "completed",
            "elapsed_ms": str(used),
            "energy": {"basis": "modelled", "how": "linear", "error_permille": 370, "tested_on": None},
            "factor": FACTOR,
            "rate": "cores/1",
        }

    def give_back(self, name: str, run: int, amounts: Mapping[Unit, int], bucket: str) -> None:
        from fabrique.apps.ledger import services

        ref = str(uuid.uuid5(uuid.NAMESPACE_OID, str(run)))
        lines = booking.refund(
            self.key(name),
            self.allocations[name].pool,
            [Amount(u, v) for u, v in amounts.items()],
            [CPU, MJ],
            ref,
            reason("refund.hub-failure", cause="power").as_json(),
            bucket,
        )
        services.write("refund", {"hold": ref}, lines, now=self.tick())

    def tell(self) -> None:
        from fabrique.apps.ledger import services

        capacity = [("union", Amount(CPU, 9000 * HOUR_MS)), ("national", Amount(CPU, 900 * HOUR_MS))]
        services.write("genesis", {"hub": self.hub}, booking.genesis(capacity, "genesis", {}), now=self.now)
        limits = {CPU: (100 * HOUR_MS, Policy()), MJ: (10 * MJ_PER_KWH, Policy(Exhaustion.DEGRADE, 250))}
        for name, allocation in self.allocations.items():
            services.open_allocation(self.key(name), allocation.pool, limits, ref=f"award-{name}", now=self.tick())
        self.run("a", 1, 4, 2 * HOUR_MS)
        self.run("b", 2, 4, 3 * HOUR_MS + 1)
        self.earlier = services.checkpoint_json(services.checkpoint(self.hub, now=self.tick()))
        self.give_back("a", 3, self.run("a", 3, 2, HOUR_MS, "lost"), "lost")
        charged = self.run("a", 4, 10, 10 * HOUR_MS)
        rebate = booking.rebate(
            self.key("a"),
            Amount(CPU, charged[CPU]),
            850,
            str(uuid.uuid5(uuid.NAMESPACE_OID, "4")),
            reason("rebate.power-level", level="60 %", throughput_permille=850).as_json(),
        )
        services.write("rebate", {}, rebate, now=self.tick())
        self.run("a", 5, 1, 2 * HOUR_MS)  # beyond its hold
        moved = booking.transfer(
            self.key("a"), self.key("b"), [Amount(CPU, 5 * HOUR_MS)], services.balance, "agreement"
        )
        services.write("transfer", {}, moved, now=self.tick())
        services.end_allocation(self.key("c"), "national", now=self.tick())
        hold = self.hold("a", 6, 3)
        self.open_hold = str(getattr(hold, "id", ""))
        services.checkpoint(self.hub, now=self.tick())


@pytest.fixture
def story(db: None) -> Story:
    """The whole story, told. Titles are hostile: they are other people's words."""
    told = _people()
    told.tell()
    return told


@pytest.fixture
def untold(db: None) -> Story:
    """Its people and allocations, and an empty ledger."""
    return _people()


@pytest.fixture(autouse=True)
def nothing_earlier() -> None:
    """What the process keeps from one call or request to the next is no test's to inherit: options, language, zone."""
    from django.utils import timezone, translation

    from fabrique.cli import shared

    shared.current.call = shared.Call()
    translation.deactivate()
    timezone.deactivate()


@pytest.fixture
def fixed() -> Callable[[str], uuid.UUID]:
    return _fixed


def _fixed(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, name)


TITLE = 'Forêts "2100" <script>alert(1)</script> #eval("1+1") $x^2$ \\ * _'


def _people() -> Story:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from django.conf import settings

    from fabrique.apps.access.models import Allocation, Application, Award, Project
    from fabrique.apps.ledger.models import Rate
    from fabrique.apps.people.models import Organisation, Person

    keys = settings.HOME / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    (keys / "ledger.key").write_text(Ed25519PrivateKey.from_private_bytes(b"7" * 32).private_bytes_raw().hex())
    Rate.objects.create(
        name="cores",
        version=1,
        unit=CPU,
        currency=CAD,
        numerator=40_000,
        from_ms=START,
        source="a test's",
        assumed=True,
    )
    who = Person.objects.create(id=_fixed("who"), email="who@example.org", name="Who")
    home = Organisation.objects.create(id=_fixed("org"), name="Home", kind="startup", country="CA", created_ms=START)
    story = Story()
    for name, project, pool in (("a", "p-3f9a2c", "union"), ("b", "p-77aa01", "union"), ("c", "p-3f9a2c", "national")):
        owner, _ = Project.objects.get_or_create(
            code=project,
            defaults={
                "id": _fixed(project),
                "serial": len(story.projects) + 1,
                "title": TITLE,
                "organisation": home,
                "created_ms": START,
            },
        )
        story.projects[name] = owner
        times = {"starts_ms": START, "ends_ms": START + 2000 * HOUR_MS}
        application = Application.objects.create(
            id=_fixed(f"application-{name}"),
            mode="playground",
            mode_version=1,
            applicant=who,
            project=owner,
            created_ms=START,
            changed_ms=START,
        )
        award = Award.objects.create(
            id=_fixed(f"award-{name}"), application=application, pool=pool, amounts={}, decided_ms=START, **times
        )
        story.allocations[name] = Allocation.objects.create(
            id=_fixed(f"allocation-{name}"), award=award, project=owner, pool=pool, mode="playground", **times
        )
    return story


@pytest.fixture
def answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """`answer(path or data, *flags)`: the exit code and the JSON answer."""

    from fabrique.verifier import fabrique_verify

    def run(given: Path | object, *flags: str) -> tuple[int, dict[str, Any]]:
        path = given if isinstance(given, Path) else tmp_path / "given.json"
        if not isinstance(given, Path):
            path.write_text(given if isinstance(given, str) else json.dumps(given), encoding="utf-8")
        capsys.readouterr()
        code = fabrique_verify.main([str(path), "--json", *flags])
        out, err = capsys.readouterr()
        return code, json.loads(out or err)

    return run


# --- the desk: a founded hub with people of every sort, a project, a waiting job, a waiting application ------------


@dataclass
class Desk:
    """`people` by what they are to the project: pi, member, asker (another applicant), stranger, and the roles."""

    people: dict[str, Person]
    project: Project
    job: Job
    waiting: Application  # the asker's, for an officer to decide

    def client(self, who: str = "", **options: Any) -> Client:
        """A browser that speaks English, signed in as `who`."""
        from django.test import Client

        client = Client(**options)
        client.cookies["fabrique-language"] = "en"
        if who:
            client.force_login(self.people[who], backend="allauth.account.auth_backends.AuthenticationBackend")
        return client

    def invitation(self) -> str:
        """The token of a new invitation to the project."""
        from fabrique.apps.access import members
        from fabrique.apps.now import now_ms

        return members.invite(self.project, self.people["pi"], now=now_ms())

    def form(self, mode_id: str, **changes: str) -> dict[str, str]:
        from fabrique.apps.access import services as access
        from fabrique.apps.now import now_ms

        mode = access.find_mode(mode_id, now=now_ms())
        given = {
            "title": "Proteins", "summary": "Fold them.", "need": "x", "method": "y", "supervisor": "z",
            "organisation_kind": "researcher" if "research" in mode_id else "startup", "country": "CA",
            "founded": "2025-01-01", "staff": "5", "turnover": "1", "kind": "local-core", "hours": "10", "months": "1",
            "civilian": "yes", "data_class": "public", "confidential": "no",
        }  # fmt: skip
        given = {k: v for k, v in given.items() if mode.field(k)}
        given |= {f"ethics.{q.id}": "yes" if q.settled else "no" for q in mode.ethics}
        return given | changes


@pytest.fixture
def desk(db: None) -> Desk:
    from django.conf import settings

    from fabrique.apps.access import members
    from fabrique.apps.access import services as access
    from fabrique.apps.jobs import services as jobs
    from fabrique.apps.now import now_ms
    from fabrique.apps.people import services as people
    from fabrique.operate import founding

    now = now_ms()
    founding.make_home(settings.HOME, "ca-lasalle-hub", port=8000, now=now)
    founding.furnish(now=now)
    names = ("pi", "member", "asker", "stranger", "operator", "coordinator", "reviewer", "funder", "auditor")
    persons = {name: people.create_person(name.title(), f"{name}@desk.example", now=now) for name in names}
    for name in names[4:]:
        office = people.create_organisation(name, "public-body", "CA", now=now)
        people.grant_role(persons[name], name, office, now=now)
    for name, kind in (("pi", "startup"), ("asker", "researcher")):
        people.join(persons[name], people.create_organisation(f"{name} & Co", kind, "CA", now=now), now=now)
    empty = Desk(persons, None, None, None)  # type: ignore[arg-type]  # filled below
    made = [
        access.submit(access.save_draft(persons[who], mode, empty.form(mode), now=now), persons[who], now=now)
        for who, mode in (("pi", "lasalle_startup"), ("asker", "lasalle_research"))
    ]
    project = made[0].project
    assert project is not None
    members.accept(members.invite(project, persons["pi"], now=now), persons["member"], now=now)
    script = b"#!/bin/sh\n#fabrique walltime: 10m\necho hello\n"
    job = jobs.submit(persons["pi"], project.code, script, {}, now=now)
    return Desk(persons, project, job, made[1])


@pytest.fixture(params=["lua5.1", "lua5.3"])
def at_door(request: pytest.FixtureRequest, tmp_path: Path, missing: Callable[[str], None]) -> Ask:
    """The door under either Lua, the hub's state being fresh."""
    if shutil.which(request.param) is None:
        missing(f"{request.param} is not installed")
    return lua.at_door(tmp_path, request.param)


# --- a cluster that is scripted -------------------------------------------------------------------------------------


@pytest.fixture
def slurm() -> FakeSlurm:
    return FakeSlurm()


@pytest.fixture
def connect(slurm: FakeSlurm, tmp_path: Path) -> Callable[..., SlurmEngine]:
    return connector(slurm, tmp_path / "runs")


@pytest.fixture
def bench(db: None, settings: Any, tmp_path: Path) -> ClusterBench:
    """A loop on a cluster; a module that tests another has its own."""
    from tests.unit.clusters import ClusterBench, found_on_cluster

    settings.HOME = tmp_path / "home"
    return ClusterBench(found_on_cluster(settings.HOME))
