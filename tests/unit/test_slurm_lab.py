"""What a lab writes for Slurm, where it may live, and that it says what is missing; nothing of Slurm runs here."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools.slurm_lab import energy, packages, ports, power
from tools.slurm_lab.lab import SlurmLab
from tools.slurm_lab.options import Group, Options
from tools.slurm_lab.processes import MARK, Daemons, LabError
from tools.slurm_lab.render import Ports, files

FOLDER = Path("/tmp/a-lab")
USERS = ("slurm", "root")


@pytest.fixture(autouse=True)
def name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's name leads to its loopback, whatever it does where the tests run."""
    monkeypatch.setattr(socket, "gethostbyname", lambda host: "127.0.0.1")


def rendered(options: Options, name: str = "slurm.conf") -> list[str]:
    made = files(options, FOLDER, Ports(20_000), plugins=Path("/usr/lib/slurm"), users=USERS, host="here")
    return made[name].splitlines()


def value(lines: list[str], key: str) -> str:
    """The last one counts, as for Slurm."""
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")][-1]


def test_nodes_have_ports_of_their_own_and_declared_devices() -> None:
    groups = (Group(count=2, gpus=4), Group(prefix="mi", count=1, gpu="mi300x", gpus=1, cores=7, features="rack2"))
    lines = [line for line in rendered(Options(groups=groups)) if line.startswith("NodeName=")]
    assert lines == [
        "NodeName=gpu[01-02] NodeHostname=here NodeAddr=127.0.0.1 Port=[20010-20011] Sockets=2 CoresPerSocket=48"
        " ThreadsPerCore=1 RealMemory=1000000 Gres=gpu:h100:4",
        "NodeName=mi01 NodeHostname=here NodeAddr=127.0.0.1 Port=20012 Sockets=1 CoresPerSocket=7"
        " ThreadsPerCore=1 RealMemory=1000000 Gres=gpu:mi300x:1 Feature=rack2",
    ]
    devices = [line for line in rendered(Options(groups=groups), "gres.conf") if line.startswith("NodeName=")]
    assert devices[0] == "NodeName=gpu[01-02] Name=gpu Type=h100 File=/tmp/a-lab/dev/gpu[0-3]"
    assert devices[1] == "NodeName=mi01 Name=gpu Type=mi300x File=/tmp/a-lab/dev/gpu0"
    assert value(rendered(Options(groups=groups)), "AccountingStorageTRES") == "gres/gpu,gres/gpu:h100,gres/gpu:mi300x"


def test_a_node_without_devices_declares_none() -> None:
    assert not [line for line in rendered(Options(groups=(Group(gpus=0),)), "gres.conf") if line.startswith("Node")]
    assert "Gres=" not in "".join(line for line in rendered(Options(groups=(Group(gpus=0),))) if "NodeName" in line)


def test_the_callers_lines_come_last_and_know_the_folder() -> None:
    lines = rendered(Options(extra=("SlurmdTimeout=60", "Prolog=$LAB/etc/prolog")))
    assert value(lines, "SlurmdTimeout") == "60"
    assert value(lines, "Prolog") == "/tmp/a-lab/etc/prolog"


def test_waits_of_minutes_are_seconds_here() -> None:
    lines = rendered(Options())
    assert "cred_expire=5" in value(lines, "AuthInfo")
    assert "sched_interval=1," in value(lines, "SchedulerParameters")


def test_each_option_reaches_slurm() -> None:
    options = Options(licences={"watts": 25}, job_submit="-- Lua", energy=True, power_saving=True, enforce="")
    lines = rendered(options)
    assert value(lines, "Licenses") == "watts:25"
    assert value(lines, "JobSubmitPlugins") == "lua"
    assert value(lines, "AcctGatherEnergyType") == "acct_gather_energy/file"
    assert value(lines, "PluginDir") == "/usr/lib/slurm:/tmp/a-lab/plugins"
    assert value(lines, "ResumeProgram") == "/tmp/a-lab/etc/resume"
    assert not [line for line in lines if line.startswith("AccountingStorageEnforce")]
    assert value(rendered(Options()), "AccountingStorageEnforce") == "associations,limits,qos,safe"
    assert rendered(options, "job_submit.lua") == ["-- Lua"]


@pytest.mark.parametrize("own", ["127.0.0.1", "127.0.1.1"])
def test_nothing_listens_beyond_the_loopback(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    """Slurm listens at the machine's name, whatever that is called on the loopback."""
    monkeypatch.setattr(socket, "gethostbyname", lambda host: own)
    assert value(rendered(Options()), "SlurmctldHost") == f"here({own})"
    assert value(rendered(Options()), "AccountingStorageHost") == own
    assert value(rendered(Options(), "slurmdbd.conf"), "DbdAddr") == own
    assert f"NodeAddr={own} " in "".join(rendered(Options()))
    assert value(rendered(Options()), "CommunicationParameters") == "NoCtldInAddrAny,NoInAddrAny"
    assert value(rendered(Options(), "slurmdbd.conf"), "CommunicationParameters") == "NoCtldInAddrAny,NoInAddrAny"
    assert "skip-networking" in rendered(Options(), "mariadb.cnf")


@pytest.mark.parametrize("found", ["10.0.0.7", None])
def test_a_machine_named_by_its_network_still_finds_its_daemons(
    monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    def resolve(host: str) -> str:
        if found is None:
            raise socket.gaierror
        return found

    monkeypatch.setattr(socket, "gethostbyname", resolve)
    assert not [line for line in rendered(Options()) if line.startswith("CommunicationParameters")]
    assert value(rendered(Options()), "SlurmctldHost") == "here(127.0.0.1)"


def test_no_file_holds_a_secret() -> None:
    made = files(Options(), FOLDER, Ports(20_000), plugins=Path("/usr/lib/slurm"), users=USERS, host="here")
    assert not [name for name, text in made.items() if "StoragePass=" in text.replace("AccountingStoragePass=/", "")]


def test_options_survive_their_file(tmp_path: Path) -> None:
    options = Options(groups=(Group(count=2), Group(prefix="mi")), licences={"watts": 3}, extra=("A=1",), energy=True)
    options.write(tmp_path / "lab.json")
    assert Options.read(tmp_path / "lab.json") == options


@pytest.mark.parametrize(("which", "name"), [(1, "gpu01"), ("2", "gpu02"), ("mi01", "mi01"), (3, "mi01")])
def test_a_node_has_a_number_and_a_name(which: int | str, name: str) -> None:
    assert Options(groups=(Group(count=2), Group(prefix="mi", count=1))).node(which) == name


@pytest.mark.parametrize("which", [0, 5, "gpu05", "", "-1", "../etc"])
def test_no_other_node_is_taken(which: int | str) -> None:
    with pytest.raises(ValueError, match="the lab has gpu01"):
        Options().node(which)


def test_ports_in_a_row_are_free_and_none_the_system_gives_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given_out = tmp_path / "range"
    given_out.write_text("12000\t60999\n", encoding="ascii")
    monkeypatch.setattr(ports, "RANGE", given_out)
    base = ports.free(12)
    assert base + 12 <= 12_000
    for port in range(base, base + 12):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_where_the_system_gives_out_every_port_one_is_found_still(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given_out = tmp_path / "range"
    given_out.write_text("1024\t65535\n", encoding="ascii")
    monkeypatch.setattr(ports, "RANGE", given_out)
    assert ports.LOWEST <= ports.free(12) < ports.HIGHEST


@pytest.mark.parametrize("stands", ["down psu failed", "drain psu failed"])
def test_a_node_that_was_set_aside_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stands: str
) -> None:
    """Somebody takes a node out of service and starts the cluster again: it stays out, and the rest is there."""
    lab = SlurmLab(tmp_path / "lab", nodes=2)
    said = [f"gpu01 idle none\ngpu02 {stands}\n"]
    monkeypatch.setattr(lab, "run", lambda *_, **__: subprocess.CompletedProcess((), 0, said[0], ""))
    lab.wait_for_nodes(0.3, set_aside=True)
    with pytest.raises(LabError):
        lab.wait_for_nodes(0.3)
    said[0] = "gpu01 idle none\ngpu02 down* Not responding\n"  # it has not come up yet
    with pytest.raises(LabError):
        lab.wait_for_nodes(0.3, set_aside=True)


def test_a_path_too_long_for_sockets_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20)
    with pytest.raises(LabError, match="too long a path"):
        SlurmLab(folder).prepare_folder()
    assert not folder.exists()


def test_what_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "program", lambda name: None)
    with pytest.raises(LabError, match=r"missing: munge slurm-client slurmctld .*mariadb-server"):
        SlurmLab(tmp_path / "lab").up()
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("words", [("status", "--folder"), ("node-start", "gpu02", "--booted", "--folder")])
def test_a_folder_without_a_lab_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "tools/slurm_lab.py", *words, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (1, 69)
    assert done.stderr == f"slurm: {tmp_path} holds no lab\n"


def test_slurms_own_programs_name_verbs_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    power.write(tmp_path)
    for name in ("resume", "suspend"):
        (line,) = [line for line in (tmp_path / "etc" / name).read_text().splitlines() if "slurm_lab.py" in line]
        words = shlex.split(line.partition("<")[0].replace('"$node"', "gpu01"))
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.stderr == f"slurm: {tmp_path} holds no lab\n"


@pytest.fixture
def daemons(tmp_path: Path) -> Daemons:
    for name in ("run", "log"):
        (tmp_path / name).mkdir()
    return Daemons(tmp_path)


def me() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def test_a_daemon_is_known_by_pid_and_start_and_a_strangers_pid_is_not_ours(daemons: Daemons) -> None:
    daemons.start("one", ["/bin/sleep", "60"], me(), {})
    found = daemons.find("one")
    assert found is not None
    assert daemons.names() == ["one"]
    (daemons.folder / "run" / "two.pid").write_text(f"{os.getpid()} 1.0", encoding="ascii")
    assert daemons.find("two") is None
    daemons.stop("one", "two")
    assert not found.is_running()


def test_what_lost_its_file_is_found_by_its_mark_with_all_beneath_it(daemons: Daemons) -> None:
    lost = subprocess.Popen(
        ["/bin/sh", "-c", "env -i sleep 60 & wait"], env={MARK: str(daemons.folder)}, start_new_session=True
    )
    other = subprocess.Popen(["/bin/sleep", "60"], env={MARK: "/elsewhere"})
    try:
        deadline = time.monotonic() + 10
        while len(daemons.steps()) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sorted(p.name() for p in daemons.steps()) == ["sh", "sleep"]
        daemons.sweep()
        assert lost.wait(10) == -9
        assert other.poll() is None
        assert daemons.steps() == []
    finally:
        other.kill()
        other.wait()


def test_a_daemon_that_dies_at_its_start_is_said_at_once_with_its_words(daemons: Daemons) -> None:
    daemons.start("poor", ["/bin/sh", "-c", "echo no licence >&2; exit 1"], me(), {})
    began = time.monotonic()
    with pytest.raises(LabError, match="poor ended at its start:\nno licence"):
        daemons.ready("poor", lambda: False, 30)
    assert time.monotonic() - began < 10


def test_a_meter_is_two_integers_set_at_once(tmp_path: Path) -> None:
    energy.write(tmp_path / "node", 1500, 700)
    assert (tmp_path / "node").read_text(encoding="ascii") == "1500 700\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "node"]


def test_the_energy_plugin_builds_without_a_warning(tmp_path: Path) -> None:
    if absent := packages.missing(packages.FOR_ENERGY):
        pytest.skip(f"the energy plugin can't be built here without {' '.join(absent)} (Debian)")
    assert energy.build(tmp_path).stat().st_size > 0
