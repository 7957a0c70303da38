"""Every wall this machine can build, attacked by a job from inside."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fabrique.engines import landlock
from fabrique.engines.launch import SOURCE

ROOT = os.geteuid() == 0
NOBODY = 65_534

# Runs as the hub: a home with secrets, another run's folder, a process to attack; then one job that attacks them all.
HUB = r"""
import json, os, shutil, subprocess, sys, tempfile, time
from pathlib import Path
from fabrique.engines import records
from fabrique.engines.isolation import Isolation, detect
from fabrique.engines.local import LocalEngine
from fabrique.engines.protocol import JobUser, RunSpec

def escaped(token):
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes().startswith(b"/bin/sh\0-c\0: " + token.encode())
        except OSError:
            pass
    return found

kind, own_view, attack, base = sys.argv[1], sys.argv[2] == "True", sys.argv[3], sys.argv[4]
os.umask(0o077)
top = Path(tempfile.mkdtemp(dir=base))
top.chmod(0o755)
home = top / "home"
home.mkdir()
home.chmod(0o711 if kind == "own-user" and not own_view else 0o700)
(home / "fabrique.sqlite3").write_text("SECRET database")
(home / "keys").mkdir(mode=0o700)
(home / "keys" / "signing").write_text("SECRET key")
hub = subprocess.Popen(["/bin/sleep", "60"], env={"TOKEN": "SECRET token"})
try:
    exposed = (Path(sys.prefix), Path(sys.base_prefix))
    decided = detect(home, exposed)
    engine = LocalEngine(home / "runs", Isolation(kind, "", home, exposed, own_view), lambda: 0)

    def run(intent, script, uid):
        environment = {"HUB": str(home), "PID": str(hub.pid), "PYTHON": sys.executable}
        spec = RunSpec(intent, "job", script.encode(), 1, 20_000, JobUser("ada", uid), environment=environment)
        engine.submit(spec)
        while (seen := engine.observe([intent])[0]).state not in ("ended", "lost"):
            time.sleep(0.02)
        return seen, engine.read_log(intent, 0, 100_000)[0].decode(errors="replace")

    run("other-run", "#!/bin/sh\necho SECRET result >result\nchmod -R a+rwx .\n", 200_001)
    order = (home / "runs" / "attacker" / records.ORDER)
    seen, log = run("attacker", attack, 200_002)
    token = f"escapee-{os.getpid()}"
    loop = f": {token}; trap '' TERM HUP INT; while :; do sleep 0.1; done"
    stayer = f'#!/bin/sh\nenv -i setsid setsid /bin/sh -c "{loop}" &\nsleep 0.2; echo ready; sleep 60\n'
    engine.submit(RunSpec("run-whose-shim-dies", "job", stayer.encode(), 1, 60_000, JobUser("ada", 200_003)))
    while b"ready" not in engine.read_log("run-whose-shim-dies", 0, 100)[0]:
        time.sleep(0.02)
    there = escaped(token) > 0  # a child of its loop that is not yet a `sleep` bears its name too
    os.kill(records.read(str(home / "runs" / "run-whose-shim-dies" / records.STARTED))["pid"], 9)
    while (lost := engine.observe(["run-whose-shim-dies"])[0]).state in ("starting", "running"):
        time.sleep(0.02)
    time.sleep(0.2)
    print(json.dumps({
        "escapee": [there, lost.state, escaped(token)],
        "state": seen.state, "cause": seen.cause, "exit": seen.exit_code, "error": seen.error, "log": log,
        "hub_alive": hub.poll() is None,
        "planted": [str(path) for path in top.rglob("planted") if "attacker/work" not in str(path)],
        "database": (home / "fabrique.sqlite3").read_text(),
        "forged": "forged" in (order.read_text() + (home / "runs/attacker" / records.EXIT).read_text()),
        "decided": decided.kind, "why": decided.why,
    }))
finally:
    hub.kill()
    shutil.rmtree(top, ignore_errors=True)
"""

# Starts itself once more, as the engine does: what root's own privileges start may be out of a user's reach.
PROBE = """
import subprocess, sys
assert sys.version_info >= (3, 11)
import fabrique.engines.local
subprocess.run([sys.executable, "-c", "pass"], check=True)
"""

ATTACK = r"""#!/bin/sh
cat "$HUB/fabrique.sqlite3"
ls "$HUB" | grep -x -e keys -e fabrique.sqlite3 && echo SECRET names
cat "$HUB/keys/signing"
ls "$HUB/keys"
cat "$HUB/runs/other-run/work/result"
cat "$HUB/runs/other-run/out.log"
tr '\0' '\n' <"/proc/$PID/environ"
cat "/proc/$PID/root$HUB/fabrique.sqlite3" "/proc/$PID/cwd/fabrique.sqlite3"
echo broken >"$HUB/fabrique.sqlite3"
echo x >"$HUB/planted"
echo x >"$HUB/runs/planted"
echo x >"$HUB/runs/other-run/work/planted"
echo forged >"$HUB/runs/attacker/spec.json"
echo forged >"$HUB/runs/attacker/exit.json"
test "$PID" -ne 1 && test "$PID" -ne $$ && kill -9 "$PID" 2>/dev/null
umount "$HUB" && cat "$HUB/fabrique.sqlite3"
unshare --user --map-root-user --mount sh -c 'umount "$HUB"; cat "$HUB/fabrique.sqlite3"'
kill -9 "$PPID" && sleep 1
"$PYTHON" -I -c 'print("python works")'
echo mine >file && cat file && echo also mine >"$TMPDIR/file" && echo "works in its own folder"
"""


@functools.cache
def ordinary_python() -> str | None:
    """A Python 3.11 or later that an ordinary user can run and that sees this package."""
    for python in (sys.executable, "/usr/bin/python3"):
        probe = [python, "-c", PROBE]
        try:
            if subprocess.run([*as_nobody(), *probe], env={"PYTHONPATH": SOURCE}, capture_output=True).returncode == 0:
                return python
        except OSError:
            continue
    return None


def as_nobody() -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if ROOT else []


def attack(kind: str, own_view: bool, ordinary: bool, script: str = ATTACK) -> dict[str, Any]:
    python: str | None = sys.executable
    if ordinary:
        python = ordinary_python()
        if python is None:
            pytest.skip("an ordinary user cannot reach a Python 3.11 and this package here")
    command = [*(as_nobody() if ordinary else []), python or "", "-c", HUB, kind, str(own_view), script]
    with tempfile.TemporaryDirectory(prefix="walls-") as base:
        Path(base).chmod(0o777)
        environment = {"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]}
        done = subprocess.run([*command, base], env=environment, cwd="/", capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_nothing_fell(found: dict[str, Any], python: bool) -> None:
    assert found["cause"] == "completed", found
    assert "works in its own folder" in found["log"], found
    assert "python works" in found["log"] or not python, found
    assert "SECRET" not in found["log"], found["log"]
    assert found["hub_alive"], "the job killed a process of the hub"
    assert found["escapee"] == [True, "lost", 0], "a lost run went on unseen"
    assert found["planted"] == [] and found["database"] == "SECRET database" and not found["forged"], found


@pytest.mark.skipif(not ROOT, reason="own users for jobs need the hub to run as root")
def test_own_users_with_their_own_view() -> None:
    found = attack("own-user", True, ordinary=False)
    if found["error"]:
        pytest.skip(f"this machine gives root no view of its own: {found['error']}")
    assert_nothing_fell(found, python=True)
    assert found["decided"] == "own-user" and "do not see the home" in found["why"]


@pytest.mark.skipif(not ROOT, reason="own users for jobs need the hub to run as root")
def test_own_users_alone() -> None:
    """Where mounting is forbidden, as in many containers: the number alone still keeps the home."""
    assert_nothing_fell(attack("own-user", False, ordinary=False), python=False)


@pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
def test_bubblewrap() -> None:
    found = attack("bubblewrap", False, ordinary=True)
    if found["cause"] == "not-started":
        pytest.skip("bubblewrap does not work for an ordinary user here")
    assert_nothing_fell(found, python=True)
    assert found["decided"] == "bubblewrap"


@pytest.mark.skipif(landlock.abi() < 6, reason="the kernel's Landlock is older than ABI 6 or absent")
def test_landlock() -> None:
    assert_nothing_fell(attack("landlock", False, ordinary=True), python=True)


@pytest.mark.skipif(landlock.abi() == 0, reason="the kernel has no Landlock")
def test_landlock_leaves_no_service_to_ask() -> None:
    """A socket by its path would let a job ask its user's services to act outside."""
    script = """#!/bin/sh
"$PYTHON" -I -c '
import socket
for family, allowed in ((socket.AF_UNIX, False), (socket.AF_INET, True)):
    try:
        socket.socket(family, socket.SOCK_STREAM)
        print(family.name, "made")
    except PermissionError:
        print(family.name, "refused")
socket.socketpair()
print("pair made")
'
"""
    log = attack("landlock", False, ordinary=True, script=script)["log"]
    assert log.split("\n") == ["AF_UNIX refused", "AF_INET made", "pair made", ""]


def test_without_a_wall_the_secrets_fall() -> None:
    """The attack itself works: without this, the tests above would prove nothing."""
    found = attack("none", False, ordinary=ROOT and ordinary_python() is not None)
    assert "SECRET database" in found["log"] and "SECRET key" in found["log"]
    assert "SECRET result" in found["log"] and "SECRET token" in found["log"]
    assert found["planted"] and not found["hub_alive"] and found["cause"] == "signalled"
    assert found["escapee"] == [True, "lost", 0], "a lost run went on unseen"
