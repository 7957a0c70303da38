"""Slurm's commands at a real process boundary: programs that hang, lie, stop half-way, or are not there."""

from __future__ import annotations

import contextlib
import json
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import JobUser, RunSpec, Where
from fabrique.engines.slurm import running
from fabrique.engines.slurm.commands import CommandTransport
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import Change, Order
from fabrique.engines.slurm.placing import Settings

RUN = "run-00000001"
# A queue of one job, in the form that was asked for: the token is the caller's.
SQUEUE = """
form = next(a for a in sys.argv if a.startswith("--Format=")).removeprefix("--Format=").split(",")
mark = form[0].partition(":")[2]
row = {"JobID": "7", "Name": "train", "UserName": "alice", "Partition": "gpu", "State": "RUNNING", "exit_code": "0:0",
       "SubmitTime": "1795986041", "StartTime": "1795986042", "NodeList": "gpu01"}
whole = "".join(row.get(f.partition(":")[0], "") + mark for f in form) + "end\\n"
"""


class Programs:
    """A folder of small programs in place of Slurm's; each writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.make("scontrol", 'print("slurm-wlm 22.05.8")')
        self.make("sacct", 'print("JobID Restarts")')

    def make(self, name: str, body: str) -> None:
        calls = self.folder / f"{name}.calls"
        note = "json.dumps([sys.argv[1:], dict(os.environ), os.getpid()])"
        head = f"import json, os, sys, time\nopen({str(calls)!r}, 'a').write({note} + '\\n')\n"
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{head}{body}\n")
        path.chmod(0o755)

    def calls(self, name: str) -> list[tuple[list[str], dict[str, str], int]]:
        path = self.folder / f"{name}.calls"
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []  # type: ignore[misc]

    def transport(self, timeout_s: float = 20.0) -> CommandTransport:
        return CommandTransport(Path("/etc/slurm/slurm.conf"), self.folder, timeout_s)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path / "bin")


def order(**changes: Any) -> Order:
    whole = {
        "intent": RUN,
        "script": b"#!/bin/sh\ntrue\n",
        "user": None,
        "account": "lab_a",
        "qos": None,
        "partition": "gpu",
        "nodes": 1,
        "cores": 1,
        "memory_mb": None,
        "gres": None,
        "limit_ms": 60_000,
        "output": "/runs/out.log",
        "folder": "/runs",
    }
    return Order(**{**whole, **changes})


def test_a_queue_is_read(programs: Programs) -> None:
    programs.make("squeue", SQUEUE + "sys.stdout.write(whole * 3)")
    jobs, unread = programs.transport().queue()
    assert [job.job_id for job in jobs] == [7, 7, 7] and not unread
    arguments, environment, _ = programs.calls("squeue")[0]
    assert {"--all", "--states=all"} <= set(arguments)
    assert {"LC_ALL": "C", "TZ": "UTC", "SLURM_CONF": "/etc/slurm/slurm.conf"}.items() <= environment.items()


def test_no_two_calls_part_fields_alike(programs: Programs) -> None:
    """Else a name could be written that ends its own field in the next call."""
    programs.make("squeue", SQUEUE + "sys.stdout.write(whole)")
    transport = programs.transport()
    transport.queue()
    transport.queue()
    first, second = (call[0][-1] for call in programs.calls("squeue"))
    assert first != second


def test_half_an_answer_is_kept_apart(programs: Programs) -> None:
    programs.make("squeue", SQUEUE + "sys.stdout.write(whole + whole[:200])")
    jobs, unread = programs.transport().queue()
    assert len(jobs) == 1 and len(unread) == 1 and unread[0].raw.startswith(b"7|")


def test_junk_is_garbage(programs: Programs) -> None:
    programs.make("squeue", "sys.stdout.buffer.write(bytes(range(256)) * 40)")
    with pytest.raises(FabriqueError, match=r"engine\.garbage"):
        programs.transport().queue()


def test_an_empty_queue_is_an_empty_queue(programs: Programs) -> None:
    programs.make("squeue", "")
    assert programs.transport().queue() == ([], [])


def alive(group: int) -> list[str]:
    """Processes of the group that are no zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            if entry.name.isdigit() and int(fields[2]) == group and fields[0] not in "ZX":
                found.append(entry.name)
    return found


def test_a_command_that_hangs_is_ended_with_all_it_started(programs: Programs) -> None:
    programs.make("squeue", "import subprocess; subprocess.Popen(['sleep', '60']); time.sleep(60)")
    begin = time.monotonic()
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        programs.transport(timeout_s=1.0).queue()
    assert time.monotonic() - begin < 10
    (_, _, pid) = programs.calls("squeue")[0]
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)


def test_a_command_that_never_stops_talking_is_ended(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_OUTPUT", 1_000_000)
    programs.make("squeue", "while True: sys.stdout.write('x' * 65536)")
    with pytest.raises(FabriqueError, match="without end"):
        programs.transport().queue()


AWAY = "sys.stderr.write('x: error: Unable to contact slurm controller\\n'); sys.exit(1)"


@pytest.mark.parametrize("body", ["sys.exit(1)", AWAY])
def test_a_command_that_fails_is_asked_again_later(programs: Programs, body: str) -> None:
    programs.make("squeue", body)
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        programs.transport().queue()


def test_a_command_that_is_not_there(programs: Programs) -> None:
    with pytest.raises(FabriqueError, match="No such file"):
        programs.transport().queue()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Batch job submission failed: Invalid account or account/partition combination specified", "engine.refused"),
        ("Batch job submission failed: Requested node configuration is not available", "engine.refused"),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", "engine.unavailable"),
        ("Batch job submission failed: Socket timed out on send/recv operation", "engine.unavailable"),
        ("Batch job submission failed: I/O error writing script/environment to file", "engine.unavailable"),
        ("Batch job submission failed: Slurm temporarily unable to accept job", "engine.unavailable"),
    ],
)
def test_a_no_is_told_from_no_answer(programs: Programs, said: str, code: str) -> None:
    programs.make("sbatch", f"sys.stderr.write('sbatch: error: {said}\\n'); sys.exit(1)")
    with pytest.raises(FabriqueError) as caught:
        programs.transport().submit(order())
    assert caught.value.code == code


def test_a_submission_that_names_no_job_is_garbage(programs: Programs) -> None:
    programs.make("sbatch", "print('Submitted; rm -rf /')")
    with pytest.raises(FabriqueError, match=r"engine\.garbage"):
        programs.transport().submit(order())


def test_what_a_job_is_given_never_reaches_the_command_itself(programs: Programs) -> None:
    """The hub may be root: a job's LD_PRELOAD, SBATCH_* or PATH must mean nothing to sbatch."""
    kept = str(programs.folder / "given")
    body = [
        "fd = next(a for a in sys.argv if a.startswith('--export-file=')).partition('=')[2]",
        f"open({kept!r}, 'wb').write(open(int(fd), 'rb').read())",
        "sys.stdin.read(); print('12;lab')",
    ]
    programs.make("sbatch", "\n".join(body))
    hostile = {"LD_PRELOAD": "/tmp/x.so", "SBATCH_RESERVATION": "mine", "SLURM_CONF": "/tmp/conf", "TEXT": "a,b\n=c"}
    assert programs.transport().submit(order(environment=hostile)) == 12
    _, environment, _ = programs.calls("sbatch")[0]
    assert not {"LD_PRELOAD", "SBATCH_RESERVATION", "TEXT"} & environment.keys()
    assert environment["SLURM_CONF"] == "/etc/slurm/slurm.conf"
    given = Path(kept).read_bytes()
    assert b"LD_PRELOAD=/tmp/x.so\0" in given and b"TEXT=a,b\n=c\0" in given


def test_the_script_comes_on_the_input_and_no_text_on_the_command_line(programs: Programs) -> None:
    kept = str(programs.folder / "script")
    programs.make("sbatch", f"open({kept!r}, 'w').write(sys.stdin.read()); print(12)")
    programs.transport().submit(order(script=b"#!/bin/sh\necho secret\n"))
    assert "secret" in Path(kept).read_text()
    assert not any("secret" in argument for argument in programs.calls("sbatch")[0][0])


SCONTROL = """
if sys.argv[1:2] == ["--version"]:
    print("slurm-wlm 22.05.8")
elif sys.argv[1:2] == ["update"]:
    if ",8 " in " ".join(sys.argv): sys.stderr.write("Invalid job id specified for job 8\\n"); sys.exit(1)
else:
    for line in sys.stdin:
        line = line.rstrip("\\n")
        word = line.split(" ")[0]
        if word == "update" and "JobId=9 " in line: sys.stderr.write("Access/permission denied for job 9\\n")
        elif word not in ("update", "release", "requeuehold", "quit"): sys.stderr.write(f"invalid keyword: {line}\\n")
    sys.exit(1)
"""


def test_many_changes_go_to_one_process_and_each_refusal_finds_its_job(programs: Programs) -> None:
    programs.make("scontrol", SCONTROL)
    changes = [Change(7, priority=5), Change(9, priority=4), Change((3, 2), limit_ms=90_000), Change(10, nice=3)]
    denied = programs.transport().change(changes)
    assert [(one.job_id, one.why) for one in denied] == [(9, "Access/permission denied for job 9")]
    assert len(programs.calls("scontrol")) == 1


def test_a_text_is_one_argument_and_leaves_nothing_behind(programs: Programs) -> None:
    programs.make("scontrol", SCONTROL)
    hostile = 'waits" AdminComment=x\nupdate JobId=1 Priority=0\n'
    denied = programs.transport().change([Change(7, comment=hostile), Change(8, comment=hostile)])
    arguments, _, _ = programs.calls("scontrol")[0]
    said = 'Comment=waits" AdminComment=x update JobId=1 Priority=0'
    assert arguments == ["update", "JobId=7,8", said]
    assert [one.job_id for one in denied] == [8]


def test_changes_are_not_taken_for_made_when_the_process_dies(programs: Programs) -> None:
    programs.make("scontrol", "sys.stdin.readline(); sys.exit(0)")
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        programs.transport().change([Change(7, priority=5)])


def test_a_cancel_of_what_is_over_is_no_error(programs: Programs) -> None:
    over = "scancel: error: Kill job error on job id 7: Invalid job id specified"
    programs.make("scancel", f"sys.stderr.write('{over}\\n'); sys.exit(1)")
    programs.transport().cancel([7])
    programs.make("scancel", AWAY)
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        programs.transport().cancel([7])


# --- the engine on such commands: decisions wait, nothing is lost ---------------------------------------------------


@pytest.fixture
def engine(programs: Programs, tmp_path: Path) -> SlurmEngine:
    settings = Settings(cluster="lab", partitions=("gpu",), runs=tmp_path / "runs", look_ms=0, login="root")
    return SlurmEngine(programs.transport(timeout_s=1.0), settings, lambda: time.time_ns() // 1_000_000)


BROKEN = {
    "hangs": "time.sleep(60)",
    "junk": "sys.stdout.write('\\x00\\xff' * 500)",
    "fails": "sys.exit(1)",
    "half": SQUEUE + "sys.stdout.write(whole[:150])",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_broken_queue_delays_and_loses_nothing(engine: SlurmEngine, programs: Programs, body: str) -> None:
    programs.make("squeue", SQUEUE + "sys.stdout.write(whole)")
    programs.make("sacct", "print('JobID' if '--helpformat' in sys.argv else '', end='')")
    programs.make("sbatch", "sys.stdin.read(); print(12)")
    spec = RunSpec(RUN, "a-job", b"#!/bin/sh\ntrue\n", 1, 60_000, JobUser("p"), where=Where("gpu", "lab_a"))
    engine.submit(spec)
    programs.make("squeue", body)
    for act in (lambda: engine.observe([RUN]), engine.list, engine.arrivals, lambda: engine.release([RUN])):
        with pytest.raises(FabriqueError, match=r"engine\.(unavailable|garbage)"):
            act()
    engine.submit(spec)  # known to be there: nothing is asked
    assert len(programs.calls("sbatch")) == 1


def test_a_broken_accounting_loses_no_run(engine: SlurmEngine, programs: Programs, tmp_path: Path) -> None:
    programs.make("squeue", SQUEUE + "sys.stdout.write(whole)")
    programs.make("sacct", "print('JobID' if '--helpformat' in sys.argv else '', end='')")
    programs.make("sbatch", "sys.stdin.read(); print(12)")
    spec = RunSpec(RUN, "a-job", b"#!/bin/sh\ntrue\n", 1, 60_000, JobUser("p"), where=Where("gpu", "lab_a"))
    engine.submit(spec)
    programs.make("sacct", "sys.stderr.write('Problem talking to the database: Connection refused\\n'); sys.exit(1)")
    seen = engine.observe([RUN])[0]
    assert seen.state == "unknown" and "database" in (seen.error or "")


def test_a_file_s_rights_keep_orders_from_others(engine: SlurmEngine, programs: Programs) -> None:
    programs.make("squeue", "")
    programs.make("sacct", "print('JobID' if '--helpformat' in sys.argv else '', end='')")
    programs.make("sbatch", "sys.stdin.read(); print(12)")
    engine.submit(RunSpec(RUN, "a", b"#!/bin/sh\n", 1, 60_000, JobUser("p"), where=Where("gpu", "lab_a")))
    folder = engine.root / RUN
    assert stat.S_IMODE(folder.stat().st_mode) & 0o066 == 0
    assert all(stat.S_IMODE(p.stat().st_mode) & 0o077 == 0 for p in folder.iterdir())
