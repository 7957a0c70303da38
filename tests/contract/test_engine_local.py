"""What the local engine survives: its own processes killed at any instant, reboots, clocks, broken files."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.engines import launch, processes, records
from fabrique.engines.isolation import Isolation
from fabrique.engines.local import LocalEngine
from fabrique.engines.protocol import JobUser, Observation, RunSpec

ROOT = os.geteuid() == 0
TICKING = "i=0; while :; do i=$((i+1)); echo tick; sleep 0.02; done"


class Yard:
    """A local engine in a folder, without walls, so that a test can reach every process of a run."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engine = self.connect()
        self.count = 0

    def connect(self) -> LocalEngine:
        walls = Isolation("none", "a test", self.home)
        return LocalEngine(self.home / "runs", walls, lambda: time.time_ns() // 1_000_000)

    def spec(self, text: str, /, **changes: Any) -> RunSpec:
        self.count += 1
        spec = RunSpec(f"yard-{self.count:04d}", "job", f"#!/bin/sh\n{text}\n".encode(), 1, 60_000, JobUser("ada"))
        return replace(spec, **changes)

    def submit(self, text: str, /, **changes: Any) -> str:
        spec = self.spec(text, **changes)
        self.engine.submit(spec)
        return spec.intent

    def record(self, intent: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.when(lambda: records.read(str(self.home / "runs" / intent / name)))
        return found

    def see(self, intent: str) -> Observation:
        return self.engine.observe([intent])[0]

    def over(self, intent: str) -> Observation:
        self.when(lambda: self.see(intent).state in ("ended", "lost"))
        return self.see(intent)

    def log(self, intent: str) -> bytes:
        return self.engine.read_log(intent, 0, 10**6)[0]

    def ticking(self, **changes: Any) -> str:
        intent = self.submit(TICKING, **changes)
        self.when(lambda: b"tick" in self.log(intent))
        return intent

    def remains(self, intent: str) -> list[int]:
        return processes.marked(f"{records.MARK}={self.home}/runs/{intent}".encode())

    def alone(self, intent: str) -> None:
        """Wait until even the shim, which goes right after its last record, is gone: one that is going has no
        environment any more, and is no zombie yet.
        """
        claim = self.record(intent, records.CLAIM)
        self.when(lambda: not self.remains(intent) and not records.is_alive(claim, claim["boot"]))

    @staticmethod
    def when(look: Any) -> Any:
        until = time.monotonic() + 60
        while not (found := look()):
            assert time.monotonic() < until, "waited too long"
            time.sleep(0.01)
        return found


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    for intent in yard.engine.list().intents:
        yard.engine.cancel(intent, 0)
        yard.over(intent)
        yard.alone(intent)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    processes.send(pid, number)


# --- the shim dies ----------------------------------------------------------------------------------------


def test_a_killed_shim_means_lost_and_nothing_goes_on(yard: Yard) -> None:
    intent = yard.submit(f"setsid sh -c 'trap \"\" TERM HUP; {TICKING}' & {TICKING}")
    yard.when(lambda: b"tick" in yard.log(intent))
    started = yard.record(intent, records.STARTED)
    kill(started["pid"])
    seen = yard.over(intent)
    assert (seen.state, seen.cause, seen.ended_ms, seen.exit_code) == ("lost", "lost", None, None)
    assert seen.last_seen_ms is not None and seen.last_seen_ms >= started["at"]
    assert yard.remains(intent) == []
    yard.engine.submit(yard.spec("echo twice", intent=intent))
    assert yard.see(intent) == seen == yard.connect().observe([intent])[0]


def test_a_run_of_the_same_name_in_another_hub_is_left_alone(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Yard(tmp_path / "other")
    intent = yard.ticking()
    assert other.ticking() == intent
    kill(yard.record(intent, records.STARTED)["pid"])
    assert yard.over(intent).state == "lost"
    assert other.see(intent).state == "running"
    other.engine.cancel(intent, 0)
    assert other.over(intent).cause == "cancelled"


def test_a_lost_run_was_there_until_its_last_heartbeat(yard: Yard) -> None:
    intent = yard.ticking()
    path = str(yard.home / "runs" / intent / records.HEARTBEAT)
    yard.when(lambda: (records.read(path) or {}).get("elapsed", 0) >= 1_000)
    started = yard.record(intent, records.STARTED)
    kill(started["pid"])
    seen = yard.over(intent)
    beat = yard.record(intent, records.HEARTBEAT)
    assert seen.last_seen_ms == started["at"] + beat["elapsed"]
    assert seen.usage.cpu_ms == beat["cpu_ms"] and seen.usage.output_bytes == beat["output"] > 0


def test_a_shim_and_a_keeper_killed_together_leave_nothing(yard: Yard) -> None:
    intent = yard.submit(f"setsid sh -c 'trap \"\" TERM HUP; {TICKING}' & sleep 60")
    yard.when(lambda: b"tick" in yard.log(intent))
    started = yard.record(intent, records.STARTED)
    os.kill(started["pid"], signal.SIGSTOP)
    kill(started["keeper"])
    kill(started["pid"])
    assert yard.over(intent).state == "lost"
    assert yard.remains(intent) == []


def test_a_killed_keeper_ends_the_run_with_a_record(yard: Yard) -> None:
    intent = yard.submit(f"setsid sh -c '{TICKING}' & {TICKING}")
    yard.when(lambda: b"tick" in yard.log(intent))
    kill(yard.record(intent, records.STARTED)["keeper"])
    seen = yard.over(intent)
    assert (seen.state, seen.cause, seen.signal) == ("ended", "signalled", 9)
    size = len(yard.log(intent))
    yard.alone(intent)
    assert len(yard.log(intent)) == size


def test_a_killed_job_is_signalled(yard: Yard) -> None:
    intent = yard.submit("echo $$; exec sleep 60")
    kill(int(yard.when(lambda: yard.log(intent))))
    assert (yard.over(intent).cause, yard.see(intent).signal) == ("signalled", 9)


def test_a_shim_killed_at_any_instant(yard: Yard) -> None:
    """Whatever the instant: ended with a record or lost without, never completed by guess, nothing left running."""
    chance = random.Random(20_26)
    states = set()
    for _ in range(25):
        spec = yard.spec("echo begun; sleep 0.02; echo done")
        command = [*launch.python("shim", "shim.main(sys.argv[1], stay=True)")]
        run = yard.home / "runs" / spec.intent
        run.mkdir()
        records.write_once(str(run / records.ORDER), yard.engine._order(spec, run))
        shim = subprocess.Popen([*command, str(run)], env={records.MARK: str(run)}, start_new_session=True)
        time.sleep(chance.uniform(0.0, 0.12))
        shim.kill()
        shim.wait()
        claimed = (run / records.CLAIM).exists()
        seen = yard.see(spec.intent)
        assert yard.remains(spec.intent) == []
        assert seen.state in (("ended", "lost") if claimed else ("unknown",))
        if seen.state == "ended":
            assert yard.log(spec.intent) == b"begun\ndone\n"
        yard.engine.submit(spec)
        final = yard.over(spec.intent)
        assert final == seen if claimed else final.cause == "completed"
        assert yard.log(spec.intent).count(b"begun") <= 1
        states.add(seen.state)
    assert len(states) > 1, "the instants were all alike: spread them"


SUBMITTER = """
import sys, time
from pathlib import Path
from fabrique.engines.isolation import Isolation
from fabrique.engines.local import LocalEngine
from fabrique.engines.protocol import JobUser, RunSpec
home = Path(sys.argv[1])
engine = LocalEngine(home / "runs", Isolation("none", "", home), lambda: 0)
print("ready", flush=True)
for name in sys.stdin:
    spec = RunSpec(name.strip(), "job", b"#!/bin/sh\\necho begun\\nsleep 0.05\\n", 1, 60_000, JobUser("ada"))
    engine.submit(spec)
"""


def test_a_submitter_killed_at_any_instant(yard: Yard) -> None:
    """What it left half done is taken up by submitting again; no run starts twice."""
    chance = random.Random(7)
    for number in range(12):
        intent = f"half-done-{number:03d}"
        submitter = subprocess.Popen(
            [sys.executable, "-c", SUBMITTER, str(yard.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": launch.SOURCE},
        )
        assert submitter.stdin is not None and submitter.stdout is not None
        submitter.stdout.readline()
        submitter.stdin.write(f"{intent}\n".encode())
        submitter.stdin.flush()
        time.sleep(chance.uniform(0.0, 0.06))
        submitter.kill()
        submitter.communicate()
        yard.engine.submit(yard.spec("echo begun; sleep 0.05", intent=intent))
        assert yard.over(intent).cause == "completed"
        assert yard.log(intent) == b"begun\n"


# --- the machine ------------------------------------------------------------------------------------------


def test_after_a_reboot_a_run_is_lost(yard: Yard) -> None:
    intent = yard.ticking()
    started = yard.record(intent, records.STARTED)
    path = str(yard.home / "runs" / intent / records.CLAIM)
    records.write(path, {**yard.record(intent, records.CLAIM), "boot": "another-boot"})
    kill(started["keeper"], signal.SIGSTOP)
    seen = yard.see(intent)
    assert (seen.state, seen.cause) == ("lost", "lost")
    assert seen.started_ms == started["at"]
    yard.when(lambda: not yard.remains(intent))


def test_a_reused_process_number_is_not_taken_for_the_shim(yard: Yard) -> None:
    intent = yard.ticking()
    claim = yard.record(intent, records.CLAIM)
    kill(claim["pid"])
    yard.when(lambda: records.start_of(claim["pid"]) != claim["start"])
    records.write(str(yard.home / "runs" / intent / records.CLAIM), {**claim, "pid": os.getpid()})
    assert yard.see(intent).state == "lost"


def test_a_claim_without_a_start_is_lost_and_never_began(yard: Yard) -> None:
    run = yard.home / "runs" / "claimed-only"
    run.mkdir()
    records.write_once(str(run / records.CLAIM), {"pid": 1, "start": 0, "boot": records.boot_id(), "at": 5})
    seen = yard.see("claimed-only")
    assert (seen.state, seen.started_ms, seen.last_seen_ms) == ("lost", None, None)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGPIPE])
def test_a_shim_is_deaf_to_its_terminal(yard: Yard, number: int) -> None:
    intent = yard.submit("echo ready; sleep 0.3")
    started = yard.record(intent, records.STARTED)
    os.kill(started["pid"], number)
    assert yard.over(intent).cause == "completed"


def test_a_shim_owes_nothing_to_its_starter(yard: Yard) -> None:
    pid = yard.record(yard.ticking(), records.STARTED)["pid"]
    assert os.getsid(pid) != os.getsid(0) and os.getpgid(pid) != os.getpgid(0)
    assert os.getsid(pid) != pid, "a session's leader could be given a terminal"
    parent = processes.look(pid)
    assert parent is not None and parent.parent != os.getpid()
    open_files = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert all(name.startswith(("/dev/null", "/proc/", "pipe:", str(yard.home))) for name in open_files), open_files


def test_a_machine_going_down_is_not_the_jobs_fault(yard: Yard) -> None:
    asked, swept = yard.ticking(), yard.submit("echo $$; exec sleep 60")
    os.kill(yard.record(asked, records.STARTED)["pid"], signal.SIGTERM)
    job = int(yard.when(lambda: yard.log(swept)))
    os.kill(yard.record(swept, records.STARTED)["pid"], signal.SIGTERM)
    kill(job, signal.SIGTERM)
    for intent in (asked, swept):
        seen = yard.over(intent)
        assert (seen.state, seen.cause) == ("lost", "lost") and seen.last_seen_ms is not None


STEPPING = """
import sys, time
sys.path.insert(0, sys.argv[2])
real, begin = time.time_ns, time.monotonic_ns()
time.time_ns = lambda: real() - (3_600_000_000_000 if time.monotonic_ns() - begin > 600_000_000 else 0)
from fabrique.engines import shim
shim.main(sys.argv[1], stay=True)
"""


def test_setting_the_clock_back_does_not_change_the_duration(yard: Yard) -> None:
    spec = yard.spec("sleep 1.2")
    run = yard.home / "runs" / spec.intent
    run.mkdir()
    records.write_once(str(run / records.ORDER), yard.engine._order(spec, run))
    subprocess.run([sys.executable, "-I", "-S", "-c", STEPPING, str(run), launch.SOURCE], check=True)
    seen = yard.see(spec.intent)
    assert seen.started_ms is not None and seen.ended_ms is not None
    assert 1_200 <= seen.ended_ms - seen.started_ms < 20_000
    assert yard.record(spec.intent, records.EXIT)["ended_wall_ms"] < seen.started_ms - 3_000_000


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"at": ', b'{"at": 1}'])
def test_a_broken_record_proves_nothing_and_hides_nobody(yard: Yard, garbage: bytes) -> None:
    good, bad = yard.submit("exit 0"), yard.submit("exit 0")
    for intent in (good, bad):
        yard.over(intent)
        yard.alone(intent)
    (yard.home / "runs" / bad / records.EXIT).write_bytes(garbage)
    seen = yard.engine.observe([bad, good])
    assert [one.state for one in seen] == ["lost", "ended"]


def test_records_are_for_the_hub_alone(yard: Yard) -> None:
    intent = yard.submit("exit 0")
    yard.over(intent)
    run = yard.home / "runs" / intent
    for name in (records.ORDER, records.CLAIM, records.STARTED, records.EXIT, records.LOG, records.HEARTBEAT):
        assert (run / name).stat().st_mode & 0o077 == 0, name
    assert (run / records.WORK).stat().st_mode & 0o077 == 0


def test_an_engine_that_cannot_write_says_unavailable(yard: Yard) -> None:
    (yard.home / "runs" / "in-the-way").write_bytes(b"")
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        yard.engine.submit(yard.spec("exit 0", intent="in-the-way"))


def test_a_full_disk_costs_the_log_and_not_the_run(yard: Yard) -> None:
    """No file of the shim may grow for a while: its log is lost, its exit record waits for better times."""
    spec = yard.spec("while [ ! -e go ]; do sleep 0.02; done; echo lost words; exit 3")
    yard.engine.submit(spec)
    pid = yard.record(spec.intent, records.STARTED)["pid"]
    run = yard.home / "runs" / spec.intent
    yard.when(lambda: (run / records.LOG).exists() and (run / records.WORK).exists())
    limit = "import resource, sys; resource.prlimit(int(sys.argv[1]), resource.RLIMIT_FSIZE, (0, -1))"
    subprocess.run([sys.executable, "-c", limit, str(pid)], check=True)
    (run / records.WORK / "go").touch()
    time.sleep(0.5)
    assert records.is_alive(yard.record(spec.intent, records.CLAIM), records.boot_id())
    subprocess.run([sys.executable, "-c", limit.replace("(0,", "(-1,"), str(pid)], check=True)
    seen = yard.over(spec.intent)
    assert (seen.cause, seen.exit_code) == ("failed", 3)
    assert yard.log(spec.intent) == b""


# --- speed ------------------------------------------------------------------------------------------------


def test_the_shim_imports_little(yard: Yard) -> None:
    spec = yard.spec("exit 0")
    run = yard.home / "runs" / spec.intent
    run.mkdir()
    records.write_once(str(run / records.ORDER), yard.engine._order(spec, run))
    call = "shim.main(sys.argv[1], stay=True); import json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([*launch.python("shim", call), str(run)], capture_output=True, check=True)
    modules = set(json.loads(done.stdout))
    assert not modules & {"typing", "dataclasses", "pathlib", "subprocess", "logging", "numpy", "inspect", "tempfile"}


def test_a_shim_is_there_at_once(yard: Yard) -> None:
    """60 ms at most on an idle machine; processor time, since others may hold the cores, with room for a slow one."""
    times = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(launch.python("shim", "pass"), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.15, times
