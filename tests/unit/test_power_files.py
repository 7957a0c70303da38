"""Power levels on a node: set before a job, put back after it, and after one that never got there. Real processes.

The ids of jobs are high: a job is alive while its slurmstepd is, and another Slurm may run on this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.lua import choice

from fabrique.engines.slurm.files import levels
from fabrique.engines.slurm.files.install import put
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.files.render import generate

OLD_S = 600  # longer than a job may take to start
FAKES = {
    "nvidia-smi": """
i=; while [ $# -gt 0 ]; do case $1 in
-i) i=$2; shift ;;
--query-gpu=power.limit) echo "$(cat "$D/limit-$i").00" ;;
-pl) [ ! -e "$D/slow" ] || sleep 30; [ ! -e "$D/broken" ] || exit 1; echo "$2" >"$D/limit-$i"; shift ;;
-lgc) echo "$2" >"$D/clock-$i"; shift ;;
-rgc) echo free >"$D/clock-$i" ;;
esac; shift; done""",
    "rocm-smi": """
i=; while [ $# -gt 0 ]; do case $1 in
-d) i=$2; shift ;;
--showmaxpower) printf 'device,Max Graphics Package Power (W)\\ncard%s,%s.0\\n\\n' "$i" "$(cat "$D/limit-$i")" ;;
--setpoweroverdrive) echo "$2" >"$D/limit-$i"; shift ;;
--setperfdeterminism) echo "$2" >"$D/clock-$i"; shift ;;
--resetperfdeterminism) echo free >"$D/clock-$i" ;;
esac; shift; done""",
    "xpu-smi": """
i=; set_=; while [ $# -gt 0 ]; do case $1 in
-d) i=$2; shift ;;
--powerlimit) set_=1; echo "$2" >"$D/limit-$i"; shift ;;
--frequencyrange) set_=1; echo "$2" >"$D/clock-$i"; shift ;;
--resetfrequencyrange) set_=1; echo free >"$D/clock-$i" ;;
esac; shift; done
[ -n "$set_" ] || printf '| 0 | GPU | Power Limit (w): %s.0 |\\n' "$(cat "$D/limit-$i")" """,
    "hl-smi": """
i=; while [ $# -gt 0 ]; do case $1 in
--query-aip=index,bus_id) for n in 0 1 2 3; do echo "$n, 0000:0$n:00.0"; done ;;
--query-aip=index,power.max) for n in 0 1 2 3; do echo "$n, $(cat "$D/limit-$n")"; done ;;
-i) i=${2#0000:0}; i=${i%%:*}; shift ;;
-p) echo "$2" >"$D/limit-$i"; shift ;;
esac; shift; done""",
}


class Machine:
    """A node with four devices of one vendor at 700 W, and the scripts as they are installed."""

    def __init__(self, folder: Path, tool: str, vendor: str) -> None:
        self.folder, self.devices, self.levels = folder, folder / "devices", folder / "levels"
        tools = folder / "tools"
        for made in (self.devices, tools):
            made.mkdir(parents=True)
        program = tools / tool
        program.write_text(f"#!/bin/sh\nD={self.devices}\n{FAKES[tool]}\n")
        program.chmod(0o755)
        for index in range(4):
            (self.devices / f"limit-{index}").write_text("700\n")
        given = {"tools": str(tools), "saved": str(folder / "saved"), "vendors": (vendor,)}
        self.scripts = folder / "etc"
        put(self.scripts, generate(choice(folder, hub_uids=(os.getuid(),), **given)))

    def run(self, script: str, job: int | str, devices: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(script), env=self.environment(job, devices), **PIPES)  # type: ignore[call-overload,no-any-return]

    def command(self, script: str) -> list[str]:
        return [shutil.which("dash") or "/bin/sh", str(self.scripts / f"fabrique-{script}")]

    def environment(self, job: int | str, devices: str) -> dict[str, str]:
        return {"SLURM_JOB_ID": str(job), "SLURM_JOB_GPUS": devices, "HOME": "/", "SLURM_JOB_NAME": "$(reboot)"}

    def limits(self) -> list[int]:
        return [int((self.devices / f"limit-{index}").read_text()) for index in range(4)]

    def level(self, job: int, watts: int) -> None:
        levels.put(self.levels, job, Level("limit_w", watts))

    def saved(self) -> list[str]:
        root = self.folder / "saved"
        return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []

    def age(self) -> None:
        """Everything kept becomes too old for a job that still starts."""
        for path in (self.folder / "saved").rglob("job-*"):
            os.utime(path, (time.time() - OLD_S, time.time() - OLD_S))


PIPES = {"capture_output": True, "text": True, "timeout": 60}
VENDORS = [("nvidia-smi", "nvidia"), ("rocm-smi", "amd"), ("xpu-smi", "intel"), ("hl-smi", "intel")]


@pytest.fixture
def node(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "nvidia-smi", "nvidia")


@pytest.mark.parametrize(("tool", "vendor"), VENDORS)
def test_a_level_is_set_and_put_back_with_each_vendors_tool(tmp_path: Path, tool: str, vendor: str) -> None:
    node = Machine(tmp_path, tool, vendor)
    node.level(8800000007, 420)
    assert node.run("prolog", 8800000007, "0,2-3").returncode == 0
    assert node.limits() == [420, 700, 420, 420]
    assert node.run("epilog", 8800000007).returncode == 0
    assert (node.limits(), node.saved()) == ([700] * 4, [])


@pytest.mark.parametrize(("tool", "vendor"), VENDORS[:3])
def test_a_clock_is_locked_and_freed(tmp_path: Path, tool: str, vendor: str) -> None:
    node = Machine(tmp_path, tool, vendor)
    levels.put(node.levels, 8800000007, Level("clock_mhz", 1200))
    node.run("prolog", 8800000007, "1")
    assert "1200" in (node.devices / "clock-1").read_text()
    node.run("epilog", 8800000007)
    assert ((node.devices / "clock-1").read_text(), node.saved()) == ("free\n", [])


def test_a_job_without_a_level_changes_nothing(node: Machine) -> None:
    assert node.run("prolog", 8800000007, "0").returncode == 0
    assert (node.limits(), node.saved()) == ([700] * 4, [])


def test_two_jobs_on_a_node_each_have_their_devices(node: Machine) -> None:
    node.level(8800000007, 420)
    node.level(8800000008, 500)
    node.run("prolog", 8800000007, "0,1")
    node.run("prolog", 8800000008, "2")
    assert node.limits() == [420, 420, 500, 700]
    node.run("epilog", 8800000007)
    assert node.limits() == [700, 700, 500, 700]
    node.run("epilog", 8800000008)
    assert (node.limits(), node.saved()) == ([700] * 4, [])


def test_prologs_at_the_same_time_lose_nothing(node: Machine) -> None:
    jobs = [(8800000007, "0", 400), (8800000008, "1", 450), (8800000009, "2", 500), (8800000010, "3", 550)]
    for job, _, watts in jobs:
        node.level(job, watts)
    running = [subprocess.Popen(node.command("prolog"), env=node.environment(j, d)) for j, d, _ in jobs]
    assert [p.wait(30) for p in running] == [0] * 4
    assert node.limits() == [400, 450, 500, 550]
    running = [subprocess.Popen(node.command("epilog"), env=node.environment(j, d)) for j, d, _ in jobs]
    assert [p.wait(30) for p in running] == [0] * 4
    assert (node.limits(), node.saved()) == ([700] * 4, [])


def test_a_device_that_jobs_share_is_put_back_by_the_last(node: Machine) -> None:
    node.level(8800000007, 420)
    node.level(8800000008, 400)
    node.run("prolog", 8800000007, "0")
    node.run("prolog", 8800000008, "0")
    node.run("epilog", 8800000007)
    assert node.limits()[0] == 400
    node.run("epilog", 8800000008)
    assert (node.limits()[0], node.saved()) == (700, [])


def test_a_job_killed_is_made_good_by_the_health_check(node: Machine) -> None:
    node.level(8800000007, 420)
    node.run("prolog", 8800000007, "0")
    assert node.run("power-restore", "").returncode == 0
    assert node.limits()[0] == 420  # a moment ago it began: it may have no process yet
    node.age()
    node.run("power-restore", "")
    assert (node.limits()[0], node.saved()) == (700, [])


def test_a_job_that_runs_keeps_its_level(node: Machine) -> None:
    node.level(8800000007, 420)
    node.run("prolog", 8800000007, "0")
    node.age()
    step = subprocess.Popen(["bash", "-c", "exec -a 'slurmstepd: [8800000007.batch]' sleep 60"])
    try:
        time.sleep(0.3)
        node.run("power-restore", "")
        assert node.limits()[0] == 420
    finally:
        step.kill()
        step.wait()
    node.run("power-restore", "")
    assert node.limits()[0] == 700


def test_a_prolog_killed_between_keeping_and_setting_is_made_good(node: Machine) -> None:
    """kill -9 while the vendor's tool runs: the limit from before is on the disk already."""
    node.level(8800000007, 420)
    (node.devices / "slow").touch()
    prolog = subprocess.Popen(node.command("prolog"), env=node.environment(8800000007, "0"), start_new_session=True)
    end = time.monotonic() + 10
    while not list((node.folder / "saved").glob("nvidia-0/job-8800000007")) and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(prolog.pid, signal.SIGKILL)
    prolog.wait()
    assert (node.folder / "saved" / "nvidia-0" / "was").read_text() == "limit_w 700\n"
    (node.devices / "slow").unlink()
    (node.devices / "limit-0").write_text("420\n")  # the tool had set it before it died
    node.age()
    node.run("power-restore", "")
    assert (node.limits()[0], node.saved()) == (700, [])


def test_the_next_job_on_a_device_finds_the_limit_from_before(node: Machine) -> None:
    """The job before died by kill -9, and no health check came in between."""
    node.level(8800000007, 420)
    node.run("prolog", 8800000007, "0")
    node.age()
    node.level(8800000008, 500)
    node.run("prolog", 8800000008, "0")
    assert node.limits()[0] == 500
    node.run("epilog", 8800000008)
    assert (node.limits()[0], node.saved()) == (700, [])
    node.run("prolog", 8800000007, "1")
    node.age()
    node.run("prolog", 8800000009, "1")  # no level of its own
    assert (node.limits()[1], node.saved()) == (700, [])


def test_after_a_boot_no_job_is_alive(node: Machine) -> None:
    node.level(8800000007, 420)
    node.run("prolog", 8800000007, "0")
    (node.folder / "saved" / "nvidia-0" / "job-8800000007").write_text("another boot\n")
    node.run("power-restore", "")
    assert node.limits()[0] == 700


def test_what_could_not_be_put_back_is_tried_again(node: Machine) -> None:
    node.level(8800000007, 420)
    node.run("prolog", 8800000007, "0")
    (node.devices / "broken").touch()
    assert node.run("epilog", 8800000007).returncode == 0
    assert (node.limits()[0], node.saved()) == (420, ["nvidia-0"])
    (node.devices / "broken").unlink()
    node.run("power-restore", "")
    assert (node.limits()[0], node.saved()) == (700, [])


def test_a_limit_that_can_not_be_read_is_not_changed(node: Machine) -> None:
    (node.devices / "limit-0").write_text("[N/A]\n")
    node.level(8800000007, 420)
    done = node.run("prolog", 8800000007, "0,1")
    assert done.returncode == 0
    assert (node.devices / "limit-0").read_text() == "[N/A]\n"
    assert (node.devices / "limit-1").read_text() == "420\n"


@pytest.mark.parametrize(
    "content", ["", "limit_w", "limit_w -5\n", "limit_w 4 2\n0", "limit_w $(touch x)\n", "reboot 420\n", "limit_w 0\n"]
)
def test_a_level_that_is_none_sets_nothing(node: Machine, content: str) -> None:
    node.levels.mkdir()
    (node.levels / "8800000007").write_text(content)
    assert node.run("prolog", 8800000007, "0").returncode == 0
    assert node.limits()[0] == (4 if content == "limit_w 4 2\n0" else 700)


def test_a_level_that_others_could_have_written_is_not_taken(node: Machine) -> None:
    node.level(8800000007, 420)
    for spoil in (
        lambda: (node.levels / "8800000007").chmod(0o666),
        lambda: ((node.levels / "8800000007").chmod(0o644), node.levels.chmod(0o777)),
    ):
        spoil()
        done = node.run("prolog", 8800000007, "0")
        assert (done.returncode, node.limits()[0]) == (0, 700)
    node.levels.chmod(0o755)
    (node.levels / "8800000007").rename(node.levels / "other")
    (node.levels / "8800000007").symlink_to(node.levels / "other")
    assert node.run("prolog", 8800000007, "0").returncode == 0
    assert node.limits()[0] == 700


@pytest.mark.parametrize("job", ["", "../7", "7;reboot", "7 8", "9" * 30])
def test_a_job_id_that_is_none_ends_it(node: Machine, job: str) -> None:
    for script in ("prolog", "epilog"):
        assert node.run(script, job, "0").returncode == 0
    assert (node.limits(), node.saved()) == ([700] * 4, [])


@pytest.mark.parametrize("devices", ["", "a", "0-99999999", "3-1", "../0", "-1", "0;reboot"])
def test_a_list_of_devices_that_is_none_sets_nothing_else(node: Machine, devices: str) -> None:
    node.level(8800000007, 420)
    assert node.run("prolog", 8800000007, devices).returncode == 0
    assert node.limits() == [700] * 4


def test_the_scripts_are_clean_in_the_eyes_of_shellcheck(node: Machine, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    made = generate(replace(choice(tmp_path), suspend="/opt/a b", resume="/opt/it's"))
    put(tmp_path / "all", made)
    files = [str(tmp_path / "all" / g.name) for g in made if g.name.startswith("fabrique-")]
    done = subprocess.run(["shellcheck", "-s", "sh", "-e", "SC2015", *files], **PIPES)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout


def test_a_nodes_power_program_lives_with_closed_descriptors(tmp_path: Path) -> None:
    """As Slurm calls it: the site's command gets the nodes as words, and its own three descriptors."""
    tools, log = tmp_path / "bin", tmp_path / "log"
    tools.mkdir()
    scontrol = tools / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$3" = "gpu[01-02]" ] && printf "gpu01\\ngpu02\\n"\n')
    command = tmp_path / "it's off"
    told = tmp_path / "told"
    command.write_text(f'#!/bin/sh\necho "$# $*" >{told}\nls -l /proc/self/fd/0 /proc/self/fd/1 >>{told}\n')
    for program in (scontrol, command):
        program.chmod(0o755)
    given = {"suspend": str(command), "resume": str(command), "bin": str(tools), "log": str(log)}
    put(tmp_path / "etc", generate(choice(tmp_path, **given)))
    words = f"exec 0<&- 1>&- 2>&-; exec {tmp_path}/etc/fabrique-suspend 'gpu[01-02]'"
    assert subprocess.run(["sh", "-c", words], timeout=20).returncode == 0
    text = told.read_text()
    assert text.startswith("2 gpu01 gpu02\n")
    assert "/dev/null" in text
    assert "suspend gpu01 gpu02" in log.read_text()


def test_levels_of_jobs_that_are_over_go(tmp_path: Path) -> None:
    for job in (1, 2, 3):
        levels.put(tmp_path, job, Level("limit_w", 300))
    assert levels.keep_only(tmp_path, {2}) == [1, 3]
    assert levels.read(tmp_path, 2) == Level("limit_w", 300)
    levels.drop(tmp_path, 2)
    levels.drop(tmp_path, 2)
    assert levels.read(tmp_path, 2) is None
    for wrong in (0, -1, 99_999):
        with pytest.raises(ValueError, match="level"):
            levels.put(tmp_path, 1, Level("limit_w", wrong))
