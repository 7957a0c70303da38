"""What every engine owes its caller. An engine joins by adding its bench to `benches`.

Slurm joins with both its transports. What a cluster decides instead of the engine (`Bench.lacks`: its shortest limit,
its KillWait, how it bounds memory and keeps processes together) is skipped with that reason; Slurm counts whole seconds
(`tick_ms`). What it owes in place of these is in `test_engine_slurm`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.contract.benches import BENCHES, PATIENCE_S, Bench, utc_ms

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import DeviceSlot


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.slurm] if n.startswith("slurm") else []) for n in BENCHES])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = BENCHES[request.param](request)
    yield bench
    for intent in bench.intents:
        bench.engine.cancel(intent, 0)
    for intent in bench.engine.list().intents:
        bench.over(intent)


def test_a_run_that_works_is_completed(bench: Bench) -> None:
    before = utc_ms()
    seen = bench.over(bench.submit("echo bonjour; sleep 0.3"))
    assert (seen.state, seen.cause, seen.exit_code, seen.signal) == ("ended", "completed", 0, None)
    assert seen.started_ms is not None and seen.ended_ms is not None
    assert before - bench.tick_ms < seen.started_ms
    assert 300 - bench.tick_ms < seen.ended_ms - seen.started_ms < 10_000
    assert bench.log(seen.intent) == b"bonjour\n"
    assert seen.usage.output_bytes == 8


def test_a_run_that_fails_keeps_its_exit_code(bench: Bench) -> None:
    seen = bench.over(bench.submit("exit 137"))
    assert (seen.cause, seen.exit_code, seen.signal) == ("failed", 137, None)


def test_a_run_that_dies_of_a_signal_says_which(bench: Bench) -> None:
    seen = bench.over(bench.submit("kill -SEGV $$"))
    assert (seen.cause, seen.exit_code, seen.signal) == ("signalled", None, 11)


def test_a_script_without_an_interpreter_line_is_the_shells(bench: Bench) -> None:
    intent = bench.submit("", script=b"echo plain\n")
    assert bench.over(intent).cause == "completed"
    assert bench.log(intent) == b"plain\n"


def test_a_script_that_cannot_be_started_says_why(bench: Bench) -> None:
    bench.must("knows what started")
    seen = bench.over(bench.submit("", script=b"#!/no/such/interpreter\n"))
    assert (seen.state, seen.cause, seen.started_ms) == ("ended", "not-started", None)
    assert seen.error == "No such file or directory"  # no path of the hub's
    assert seen.interpreter == "/no/such/interpreter"


@pytest.mark.parametrize(
    ("first", "named"),
    [
        (b"#! /no/such/python3 -u", "/no/such/python3"),
        (b"#!/bin/sh\r", "/bin/sh\\r"),
        (b"#!/etc/passwd", "/etc/passwd"),
        (b"#!/no/\x1b[2J\xff", "/no/\ufffd[2J\\xff"),
        (b"#!/" + b"x" * 230, "/" + "x" * 199),
    ],
    ids=["an argument", "Windows", "no program", "hostile", "long"],
)
def test_an_interpreter_that_cannot_be_run_is_named(bench: Bench, first: bytes, named: str) -> None:
    bench.must("knows what started")
    seen = bench.over(bench.submit("", script=first + b"\necho never\n"))
    assert (seen.cause, seen.interpreter) == ("not-started", named)
    told = (seen.error or "") + (seen.interpreter or "")
    assert "/work/" not in told and "run-" not in told


def test_the_same_intent_starts_once(bench: Bench) -> None:
    spec = bench.spec("echo once; sleep 0.2")
    others = [threading.Thread(target=bench.connect().submit, args=(spec,)) for _ in range(6)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    bench.over(spec.intent)
    bench.engine.submit(spec)
    bench.engine.submit(replace(spec, script=b"#!/bin/sh\necho twice\n"))
    time.sleep(0.3)
    assert bench.log(spec.intent) == b"once\n"
    assert bench.engine.list().intents == (spec.intent,)


def test_an_unknown_intent_is_unknown(bench: Bench) -> None:
    known = bench.submit("exit 0")
    bench.over(known)
    states = [seen.state for seen in bench.engine.observe(["never-heard-of", known, "nor-of-this-one"])]
    assert states == ["unknown", "ended", "unknown"]
    assert not bench.engine.adopt("never-heard-of")
    with pytest.raises(FabriqueError, match=r"log\.missing"):
        bench.engine.read_log("never-heard-of", 0, 10)


@pytest.mark.parametrize("intent", ["", "short", "../../etc/passwd", "UPPERCASE", "a/b-c-d-e-f", "x" * 65, "nul\0-nul"])
def test_a_hostile_intent_is_refused(bench: Bench, intent: str) -> None:
    for act in (bench.engine.adopt, bench.engine.preempt, bench.engine.purge, bench.see):
        with pytest.raises(FabriqueError, match=r"job\.field"):
            act(intent)


def test_at_the_walltime_comes_term_then_kill(bench: Bench) -> None:
    bench.must("limits of a second")
    obedient = bench.submit("trap 'echo asked; exit 4' TERM; while :; do sleep 0.05; done", walltime_ms=700)
    stubborn = bench.submit("trap '' TERM; while :; do sleep 0.05; done", walltime_ms=700, grace_ms=400)
    first, second = bench.over(obedient), bench.over(stubborn)
    assert (first.cause, first.exit_code) == ("walltime", 4)
    assert bench.log(obedient).endswith(b"asked\n")
    assert (second.cause, second.signal) == ("walltime", 9)
    assert second.started_ms is not None and second.ended_ms is not None
    assert 1_100 <= second.ended_ms - second.started_ms < 5_000


WARNED = "trap 'echo saved; exit 0' USR1; echo ready; while :; do sleep 0.05; done"


def test_the_warning_comes_before_the_walltime(bench: Bench) -> None:
    bench.must("limits of a second")
    intent = bench.submit(WARNED, walltime_ms=20_000, preempt_signal="USR1", lead_ms=19_300)
    seen = bench.over(intent)
    assert (seen.cause, seen.exit_code) == ("completed", 0)
    assert bench.log(intent) == b"ready\nsaved\n"
    assert seen.started_ms is not None and seen.ended_ms is not None and seen.ended_ms - seen.started_ms >= 700


def test_a_process_that_does_not_listen_is_not_killed_by_the_warning(bench: Bench) -> None:
    bench.must("limits of a second")
    intent = bench.submit("sleep 1; echo done", walltime_ms=20_000, preempt_signal="USR1", lead_ms=19_900)
    assert bench.over(intent).cause == "completed"
    assert bench.log(intent) == b"done\n"


def test_a_preempted_run_is_warned_and_then_ended(bench: Bench) -> None:
    bench.must("warnings")
    saves = bench.submit(WARNED, preempt_signal="USR1", lead_ms=10_000)
    deaf = bench.submit("echo ready; sleep 60", preempt_signal="USR1", lead_ms=400)
    plain = bench.submit("echo ready; sleep 60")
    for intent in (saves, deaf, plain):
        bench.says(intent, b"ready")
        bench.engine.preempt(intent)
    seen = [bench.over(intent) for intent in (saves, deaf, plain)]
    assert [one.cause for one in seen] == ["preempted"] * 3
    assert (seen[0].exit_code, seen[2].signal) == (0, 15)
    assert seen[1].signal == (signal.SIGUSR1 if "spared by a warning" in bench.lacks else signal.SIGTERM)
    assert bench.log(saves) == b"ready\nsaved\n"


def test_too_much_memory_ends_the_run(bench: Bench) -> None:
    bench.must("memory")
    eater = 'x=$(head -c 4000000 /dev/zero | tr "\\0" x); while :; do x=$x$x; sleep 0.1; done'
    seen = bench.over(bench.submit(eater, memory_mb=64))
    assert (seen.cause, seen.signal) == ("memory", 9)
    assert seen.usage.max_rss_bytes is not None and seen.usage.max_rss_bytes > 64 * 1_048_576


def test_memory_counts_every_process_of_the_run(bench: Bench) -> None:
    bench.must("memory")
    one = 'x=$(head -c 25000000 /dev/zero | tr "\\0" x); sleep 60; :'
    seen = bench.over(bench.submit(f"({one}) & ({one}) & ({one}) & wait", memory_mb=60))
    assert seen.cause == "memory"


def test_too_much_output_ends_the_run_and_says_so(bench: Bench) -> None:
    intent = bench.submit("yes", output_limit_bytes=10_000, grace_ms=200)
    seen = bench.over(intent)
    log = bench.log(intent)
    assert seen.cause == "output"
    assert log.startswith(b"y\ny\n") and len(log) < 10_200
    if "output at once" not in bench.lacks:
        assert b"output limit of 10000 bytes" in log


def test_output_up_to_the_limit_is_kept_whole(bench: Bench) -> None:
    intent = bench.submit("printf 12345", output_limit_bytes=5)
    assert bench.over(intent).cause == "completed"
    assert bench.log(intent) == b"12345"


def test_a_running_job_is_cancelled(bench: Bench) -> None:
    intent = bench.submit("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    bench.says(intent, b"ready")
    bench.engine.cancel(intent, 5_000)
    bench.engine.cancel(intent, 5_000)
    assert bench.over(intent).cause == "cancelled"
    assert bench.log(intent).endswith(b"bye\n")


def test_a_second_cancel_may_be_less_patient(bench: Bench) -> None:
    bench.must("graces")
    intent = bench.submit("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    bench.says(intent, b"ready")
    bench.engine.cancel(intent, 600_000)
    time.sleep(0.4)
    assert bench.see(intent).state == "running"
    bench.engine.cancel(intent, 0)
    assert bench.over(intent).signal == 9


def test_a_cancel_that_comes_first_wins(bench: Bench) -> None:
    spec = bench.spec("echo never")
    bench.engine.cancel(spec.intent, 1_000)
    bench.engine.submit(spec)
    seen = bench.over(spec.intent)
    assert (seen.cause, seen.started_ms) == ("cancelled", None)
    assert bench.log(spec.intent) == b""


def test_a_cancel_after_the_end_changes_nothing(bench: Bench) -> None:
    intent = bench.submit("exit 0")
    before = bench.over(intent)
    bench.engine.cancel(intent, 0)
    assert bench.see(intent) == before


def test_a_held_run_starts_when_released(bench: Bench) -> None:
    spec = bench.spec("echo begun")
    bench.engine.hold([spec.intent])
    bench.engine.submit(spec)
    time.sleep(0.5)
    assert bench.see(spec.intent).state == "starting"
    bench.engine.release([spec.intent])
    assert bench.over(spec.intent).cause == "completed"
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        bench.engine.hold([spec.intent])


def test_a_log_streams_from_any_offset(bench: Bench) -> None:
    intent = bench.submit("echo one; while [ ! -e go ]; do sleep 0.02; [ $((i=i+1)) -gt 60 ] && : >go; done; echo two")
    bench.says(intent, b"one\n")
    data, following, ended = bench.engine.read_log(intent, 0, 2)
    assert (data, following, ended) == (b"on", 2, False)
    data, following, ended = bench.engine.read_log(intent, following, 100)
    assert (data, following, ended) == (b"e\n", 4, False)
    assert bench.engine.read_log(intent, 4, 100)[0] in (b"", b"two\n")
    bench.over(intent)
    assert bench.engine.read_log(intent, 4, 100) == (b"two\n", 8, True)
    assert bench.engine.read_log(intent, 8, 100) == (b"", 8, True)
    assert bench.engine.read_log(intent, 10**9, 100) == (b"", 10**9, True)
    assert bench.engine.read_log(intent, 0, 3) == (b"one", 3, False)


def test_a_hostile_log_comes_as_it_was_written(bench: Bench) -> None:
    hostile = bytes(range(256)) + b"\x1b]0;owned\x07\x1b[2J\xff\xfe\r\n"
    octal = "".join(f"\\{byte:03o}" for byte in hostile)
    intent = bench.submit(f"printf '{octal}'; printf '{octal}' >&2")
    bench.over(intent)
    assert bench.log(intent) == hostile * 2


def test_nothing_of_a_run_outlives_it(bench: Bench) -> None:
    bench.must("no daemons")
    daemon = "setsid sh -c 'trap \"\" TERM HUP INT; while :; do echo alive; sleep 0.05; done' &"
    intent = bench.submit(f"{daemon}\nsleep 0.3; exit 0")
    bench.over(intent)
    size = len(bench.log(intent))
    time.sleep(0.3)
    assert size > 0 and len(bench.log(intent)) == size


def test_a_run_is_adopted_by_who_comes_after(bench: Bench) -> None:
    intent = bench.submit("echo ready; sleep 0.5; echo later")
    bench.says(intent, b"ready")
    later = bench.connect()
    assert later.adopt(intent) and intent in later.list().intents
    assert later.observe([intent])[0].state == "running"
    bench.engine = later
    assert bench.over(intent).cause == "completed"
    assert bench.log(intent) == b"ready\nlater\n"


def test_a_listing_is_complete_and_dated(bench: Bench) -> None:
    before = utc_ms()
    assert bench.engine.list().intents == ()
    intents = sorted(bench.submit("exit 0") for _ in range(3))
    listing = bench.engine.list()
    assert listing.complete and list(listing.intents) == intents and before <= listing.at_ms <= utc_ms()


def test_a_run_is_purged_once_it_is_over(bench: Bench) -> None:
    intent = bench.submit(
        "mkdir -p closed/deep; : >closed/deep/file; ln -s / root; chmod 0 closed; echo ready; sleep 60"
    )
    bench.says(intent, b"ready")
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        bench.engine.purge(intent)
    bench.engine.cancel(intent, 0)
    bench.over(intent)
    bench.engine.purge(intent)
    bench.engine.purge(intent)
    assert bench.engine.list().intents == () and bench.see(intent).state == "unknown"


def test_a_job_is_told_of_its_place_and_of_nothing_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.must("places")
    monkeypatch.setenv("HUB_SECRET", "leaked")
    core = bench.engine.capacity().cores[-1]
    asked = {"GREETING": "salut", "CUDA_VISIBLE_DEVICES": "0", "FABRIQUE_JOB": "forged"}
    script = "env; grep Cpus_allowed_list /proc/self/status; ulimit -c; pwd; umask"
    log = {}
    for slots in ((), (DeviceSlot("nvidia", 1, "GPU-aa"), DeviceSlot("amd", 0))):
        intent = bench.submit(script, environment=asked, cores=(core,), devices=slots)
        bench.over(intent)
        log[slots] = bench.log(intent).decode().splitlines()
    none, two = log.values()
    assert {"GREETING=salut", "CUDA_VISIBLE_DEVICES=", "FABRIQUE_JOB=a-job", "OMP_NUM_THREADS=1"} <= set(none)
    assert {"CUDA_VISIBLE_DEVICES=GPU-aa", "ROCR_VISIBLE_DEVICES=0"} <= set(two)
    assert f"Cpus_allowed_list:\t{core}" in none and "0077" in none
    assert not any("HUB_SECRET" in line or "leaked" in line for line in none)
    home = next(line for line in none if line.startswith("HOME=")).removeprefix("HOME=")
    assert home in none  # what pwd says


def test_processor_time_of_every_process_is_counted(bench: Bench) -> None:
    bench.must("use")
    spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    seen = bench.over(bench.submit(f"sh -c '{spin}'; ({spin}) & wait; setsid sh -c '{spin}' & sleep 0.6"))
    alone = bench.over(bench.submit(f"{spin}"))
    assert seen.usage.cpu_ms is not None and alone.usage.cpu_ms is not None and alone.usage.cpu_ms > 20
    assert seen.usage.cpu_ms > 1.5 * alone.usage.cpu_ms


def test_usage_is_seen_while_it_runs(bench: Bench) -> None:
    bench.must("use")
    intent = bench.submit("while :; do :; done")
    seen = bench.when(lambda: bench.see(intent), lambda seen: (seen.usage.cpu_ms or 0) > 500)
    assert seen.state == "running" and seen.cause is None
    assert seen.started_ms is not None and seen.last_seen_ms is not None and seen.last_seen_ms > seen.started_ms


def test_fifty_runs_at_once(bench: Bench) -> None:
    begin = time.monotonic()
    intents = [bench.submit(f"echo {number}; exit {number % 2}") for number in range(50)]
    seen = [bench.over(intent) for intent in intents]
    assert [one.exit_code for one in seen] == [0, 1] * 25
    assert [bench.log(intent) for intent in intents] == [b"%d\n" % number for number in range(50)]
    assert time.monotonic() - begin < PATIENCE_S
