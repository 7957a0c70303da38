"""`/metrics`: who reads it, that it says what the tables say, and that nobody's name is in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.clusters import ClusterBench

from fabrique.apps.access.models import Allocation
from fabrique.apps.energy import queries as energy
from fabrique.apps.energy.models import Window
from fabrique.apps.jobs import cycle
from fabrique.apps.jobs.models import EngineRecord, HubState, Intent, Job, Lease, RecordState, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Checkpoint, Entry
from fabrique.apps.now import now_ms
from fabrique.apps.this_hub import this_hub
from fabrique.core.booking import Exhaustion, Frozen, Policy
from fabrique.core.reasons import reason
from fabrique.core.units import HOUR_MS, Amount, Unit
from fabrique.portal import glance, metrics

CORE = Unit("core-ms:local-core")
Sample = tuple[str, tuple[tuple[str, str], ...]]


def token() -> str:
    return (settings.HOME / "keys" / "metrics.key").read_text().strip()


def read(desk: Any, **options: Any) -> dict[Sample, float]:
    """Every sample, from this machine: (name, labels) -> value."""
    answer = desk.client().get("/metrics", **options)
    assert answer.status_code == 200, answer.content
    families = text_string_to_metric_families(answer.content.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def key(name: str, **labels: str) -> Sample:
    return f"fabrique_{name}", tuple(sorted(labels.items()))


# --- who may ------------------------------------------------------------------------------------------------------


@pytest.fixture
def status(desk: Any) -> Callable[..., int]:
    def ask(who: str = "", address: str = "203.0.113.7", **headers: str) -> int:
        return int(desk.client(who).get("/metrics", REMOTE_ADDR=address, headers=headers).status_code)

    return ask


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_program_on_the_hubs_machine_reads_it(status: Callable[..., int], address: str) -> None:
    assert status(address=address) == 200


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "", "unix:"])
def test_from_elsewhere_the_token_is_asked_for(desk: Any, address: str) -> None:
    answer = desk.client().get("/metrics", REMOTE_ADDR=address)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert b"fabrique_" not in answer.content
    answer = desk.client().get("/metrics", REMOTE_ADDR=address, headers={"Authorization": f"Bearer {token()}"})
    assert answer.status_code == 200 and b"fabrique_jobs" in answer.content
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer é\udc80",
        "Basic {token}",
        "{token}",
        "Bearer {token}x",
        "Bearer {short}",
    ],
)
@pytest.mark.parametrize("address", ["203.0.113.7", "127.0.0.1"])
def test_what_is_not_the_token_opens_nothing(status: Callable[..., int], header: str, address: str) -> None:
    """Also from this machine: who sends a wrong token is told so."""
    given = header.format(token=token(), short=token()[:-1])
    assert status(address=address, Authorization=given) == 401


def test_behind_a_proxy_an_address_of_this_machine_is_anybodys(status: Callable[..., int], settings: Any) -> None:
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        assert status(address="127.0.0.1", **{header: "127.0.0.1"}) == 401, header
    assert status(address="127.0.0.1") == 200
    for name, value in (("HTTPS", True), ("PROXIES", "1")):
        before = getattr(settings, name)
        setattr(settings, name, value)
        assert status(address="127.0.0.1") == 401
        assert status(address="127.0.0.1", Authorization=f"bearer {token()}") == 200
        setattr(settings, name, before)


def test_signed_in_people_need_the_right(status: Callable[..., int]) -> None:
    everyone = ("pi", "member", "asker", "stranger", "operator", "coordinator", "reviewer", "funder", "auditor")
    told = {who: status(who) for who in everyone}
    assert {who for who, code in told.items() if code == 200} == {"operator", "coordinator", "auditor"}
    assert set(told.values()) == {200, 403}


def test_a_token_that_others_could_read_opens_nothing(status: Callable[..., int]) -> None:
    path, given = settings.HOME / "keys" / "metrics.key", f"Bearer {token()}"
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    try:
        path.chmod(0o640)
        assert status(Authorization=given) == 401
        path.chmod(0o600)
        path.write_text("short\n")
        assert status(Authorization="Bearer short") == 401
        path.write_text("another-token-that-is-long\n")
        assert status(Authorization="Bearer another-token-that-is-long") == 200, "it counts at once"
        path.unlink()
        assert status(Authorization="Bearer ") == status(Authorization=given) == 401
    finally:
        path.write_text(before)
        path.chmod(0o600)


def test_it_is_read_and_never_written(desk: Any) -> None:
    assert desk.client().post("/metrics").status_code == 405
    assert desk.client().head("/metrics").status_code == 200
    assert desk.client().head("/metrics", REMOTE_ADDR="203.0.113.7").status_code == 401


def test_a_database_that_is_away_is_one_word(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("secret words")

    monkeypatch.setattr(metrics, "queue", away)
    answer = desk.client().get("/metrics")
    assert (answer.status_code, answer.content) == (503, b"database\n")


# --- what it says -------------------------------------------------------------------------------------------------


def test_a_fresh_hub_knows_its_zeros_and_leaves_out_what_it_does_not_know(desk: Any) -> None:
    found = read(desk)
    here = this_hub()
    assert found[key("jobs", state="pending", pool="startup")] == 1
    assert found[key("jobs", state="running", pool="research")] == 0
    assert found[key("jobs_waiting", reason="none", partition="", pool="startup")] == 1
    assert found[key("jobs_waiting_since_timestamp_seconds")] == desk.job.submitted_ms / 1000
    assert found[key("devices", kind="local-core", device="core", vendor="")] == here.cores
    assert found[key("power_cap_watts", site=here.site)] == here.cap_w
    assert found[key("pool_entitlement_ratio", pool="research")] == here.shares["research"] / 1_000_000
    assert found[key("ledger_entries_total")] == Entry.objects.count()
    assert found[key("ledger_checkpoint_entries")] == Checkpoint.objects.last().seq  # type: ignore[union-attr]
    assert found[key("engine_silent", engine="local", kind="local")] == 0
    assert found[key("loop_leading")] == 0
    names = {name for name, _ in found}
    assert not names & {"fabrique_power_watts", "fabrique_energy_joules_total", "fabrique_loop_cycle_duration_seconds"}


def test_reasons_are_counted_by_code_and_partition_and_nothing_else_becomes_a_label(desk: Any) -> None:
    partition = this_hub().offers[0].partition
    whys: list[Mapping[str, object]] = [
        reason("wait.cores", partition=partition, asked=4, free=1).as_json(),
        reason("wait.cores", partition='"evil"} 1\n', asked=4, free=1).as_json(),
        {"code": "made.up", "partition": partition},
        {},
    ]
    for number, why in enumerate(whys):
        job = Job.objects.get(pk=desk.job.pk)
        job.pk, job.key, job.reason = None, f"00000000-0000-4000-8000-{number:012d}", dict(why)
        job.save(force_insert=True)
    found = read(desk)
    waiting = {dict(labels)["reason"]: n for (name, labels), n in found.items() if name == "fabrique_jobs_waiting"}
    assert set(waiting) == {"wait.cores", "other", "none"}
    assert found[key("jobs_waiting", reason="wait.cores", partition=partition, pool="startup")] == 1
    assert found[key("jobs_waiting", reason="wait.cores", partition="", pool="startup")] == 1
    assert found[key("jobs_waiting", reason="none", partition="", pool="startup")] == 2
    assert found[key("jobs", state="pending", pool="startup")] == 5


def test_energy_adds_up_over_windows_and_is_read_once(desk: Any, django_assert_num_queries: Any) -> None:
    def window(start: int, meter: int, basis: str, mg: int | None) -> None:
        parts = {"jobs_mj": meter // 2, "idle_mj": meter // 4, "overhead_mj": 0}
        Window.objects.create(
            site=this_hub().site, start_ms=start, end_ms=start + 60_000, meter_mj=meter,
            residual_mj=meter - sum(parts.values()), mg_per_kwh=mg, provenance={"basis": basis},
            saved_mj=9_000, **parts,
        )  # fmt: skip

    site, big = this_hub().site, 7 * 10**17
    window(0, big, "measured", 35_000)
    window(60_000, 360_000_000, "modelled", None)
    found = read(desk)
    assert found[key("energy_joules_total", site=site, provenance="measured")] == big / 1000
    assert found[key("energy_joules_total", site=site, provenance="modelled")] == 360_000
    assert found[key("energy_use_joules_total", site=site, provenance="modelled", use="jobs")] == 180_000
    assert found[key("energy_residual_joules", site=site, provenance="modelled")] == 90_000
    assert found[key("energy_saved_joules_total", site=site)] == 18
    grams = found[key("carbon_grams_total", site=site, provenance="measured")]
    assert grams == pytest.approx(big / 3.6e9 * 35_000 / 1000)
    assert found[key("carbon_grams_total", site=site, provenance="modelled")] == 0
    assert found[key("power_watts", site=site)] == 6_000
    assert found[key("power_read_timestamp_seconds", site=site)] == 120
    window(120_000, 1_000, "modelled", 35_000)
    assert read(desk)[key("energy_joules_total", site=site, provenance="modelled")] == 360_001
    with django_assert_num_queries(2):  # nothing new: no window is summed again
        assert energy.totals().by[site, "modelled"][0] == 360_001_000
    Window.objects.all().delete()  # as another database would be
    assert energy.totals().by == {}


def test_pools_say_what_is_granted_held_and_used(desk: Any) -> None:
    allocation = Allocation.objects.get(project=desk.project)
    before = read(desk)
    frozen = Frozen(35_000, "a test's", 0, None, "")  # type: ignore[arg-type]
    with ledger.batch("hold", {}, now=now_ms()) as acts:
        acts.hold(str(allocation.id), allocation.pool, [Amount(CORE, 2 * HOUR_MS)], frozen, desk.job.key)
    found = read(desk)
    of = {"pool": allocation.pool, "device": "core", "kind": "local-core"}
    granted = found[key("pool_device_seconds", **of, bucket="granted")]
    assert granted == before[key("pool_device_seconds", **of, bucket="granted")] == 36_000
    assert found[key("pool_device_seconds", **of, bucket="held")] == 7_200
    assert found[key("pool_device_seconds", **of, bucket="available")] == granted - 7_200
    assert (before[key("holds")], found[key("holds")]) == (0, 1)
    yearly = sum(v for (name, _), v in found.items() if name == "fabrique_pool_capacity_device_seconds")
    assert yearly == this_hub().yearly_capacity("local-core") / 1000, "an award moves time, it makes none"


def test_the_loop_says_who_leads_how_long_it_took_and_who_is_silent(desk: Any) -> None:
    epoch = cycle.take_lease("me", now=now_ms(), life_ms=60_000)
    HubState.objects.filter(pk=1).update(
        last_cycle_ms=1_000, last_cycle_took_ms=37, cycles=9, silent={"local": "engine.silent"}, observe_only=True
    )
    found = read(desk)
    assert found[key("loop_epoch")] == epoch == 1 and found[key("loop_leading")] == 1
    assert found[key("loop_cycle_duration_seconds")] == 0.037
    assert found[key("loop_last_cycle_timestamp_seconds")] == 1
    assert found[key("loop_cycles_total")] == 9 and found[key("observe_only")] == 1
    assert found[key("engine_silent", engine="local", kind="local")] == 1
    Lease.objects.update(expires_ms=0)
    assert read(desk)[key("loop_leading")] == 0


def test_what_nobody_can_be_charged_for_yet_is_counted(desk: Any) -> None:
    for number, state in enumerate(("booked", "quarantined", "quarantined")):
        EngineRecord.objects.create(engine="local", key=str(number), raw=b"", state=state, first_ms=1, changed_ms=1)
    found = read(desk)
    told = {state: found[key("engine_records", engine="local", state=state)] for state in RecordState.values}
    assert told == {"open": 0, "booked": 1, "quarantined": 2}


COUNTED = {("lab", "quarantine.account"): 2, ("lab", "quarantine.runaway"): 1, ("local", "quarantine.account"): 0}


def test_quarantine_is_counted_by_reason(desk: Any) -> None:
    for number, code in enumerate(("quarantine.account", "quarantine.account", "quarantine.runaway")):
        state = "open" if code == "quarantine.runaway" else "quarantined"
        more = {"account": "x"} if state == "quarantined" else {"since": 1}
        EngineRecord.objects.create(
            engine="lab", key=str(number), raw=b"", state=state, reason={"code": code, **more}, first_ms=1, changed_ms=1
        )
    EngineRecord.objects.create(engine="lab", key="booked", raw=b"", state="booked", first_ms=1, changed_ms=1)
    found = read(desk)
    held = {k: found[key("quarantined_records", engine=k[0], reason=k[1])] for k in COUNTED}
    assert held == COUNTED


def test_acts_that_no_engine_confirmed_are_counted_by_act(desk: Any) -> None:
    run = Run.objects.create(
        job=desk.job, engine="local", partition="this-machine", kind="local-core", unit=CORE, share_milli=1500,
        hold=desk.job.key, planned_ms=1, bound={"power_w": 7},
    )  # fmt: skip
    for number, (act, resolved) in enumerate((("submit", None), ("release", None), ("submit", 5))):
        Intent.objects.create(id=str(number), run=run, act=act, epoch=1, created_ms=1, resolved_ms=resolved)
    found = read(desk)
    told = {act: found[key("intents_unresolved", act=act)] for act in ("submit", "release", "cancel", "preempt")}
    assert told == {"submit": 1, "release": 1, "cancel": 0, "preempt": 0}
    assert found[key("devices_used", kind="local-core", device="core", vendor="")] == 1.5


def test_the_cores_beside_accelerators_are_handed_out_too(bench: ClusterBench) -> None:
    bench.slurm.sbatch(1)  # a device and four cores
    bench.turn()
    found = {one.kind: one.used for one in glance.devices(bench.here, Run.objects.all())}
    assert found == {"h100-sxm": 1_000, "local-core": 4_000}


def test_nobodys_name_is_in_it(desk: Any) -> None:
    text = desk.client().get("/metrics").content.decode()
    person, project = desk.people["pi"], desk.project
    for secret in (person.name, person.email, str(person.id), project.code, str(project.id), desk.job.name):
        assert not re.search(rf'"{re.escape(secret)}"', text)
    assert "desk.example" not in text


def test_energy_carbon_and_money_keep_their_units_apart(desk: Any) -> None:
    limits = {
        Unit("mJ"): (5_000, Policy(Exhaustion.DEGRADE, 250)),
        Unit("mgCO2e"): (7_000, Policy()),
        Unit("uCAD"): (9_000_000, Policy()),
    }
    allocation = Allocation.objects.get(project=desk.project)
    ledger.open_allocation(str(allocation.id), allocation.pool, limits, ref="more", now=now_ms())
    found = read(desk)
    pool = allocation.pool
    assert found[key("pool_energy_joules", pool=pool, bucket="granted")] == 5
    assert found[key("pool_carbon_grams", pool=pool, bucket="granted")] == 7
    assert found[key("pool_cost", pool=pool, currency="CAD", bucket="granted")] == 9
