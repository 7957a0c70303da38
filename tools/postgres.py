"""A private PostgreSQL for one command: `tools/postgres.py COMMAND…` runs it with FABRIQUE_DATABASE_URL set.

The server lives in a fresh 0700 folder on a free loopback port, with a random password, as another user where
this process is root (PostgreSQL refuses root). It stops, and its folder goes, when the command ends, whatever
happens. Exit code: the command's; 69 when PostgreSQL is not installed.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOT_INSTALLED = 69  # EX_UNAVAILABLE
START_S = 60
# nothing here outlives the tests, so nothing has to survive a power cut
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=200")


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`: Debian's newest, else the one on PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    on_path = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
    return next((f for f in [*debian, *on_path] if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _other_user() -> dict[str, Any]:
    """Popen's arguments that leave root: the user `postgres` where Debian made one, else `nobody`."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _initialise(folder: Path, bin_: Path, password: str, user: dict[str, Any]) -> Path:
    """Make the cluster's files; only this password, over loopback, opens it."""
    secret, data = folder / "password", folder / "data"
    secret.write_text(password + "\n", encoding="ascii")
    secret.chmod(0o600)
    if user:
        for path in (folder, secret):
            os.chown(path, user["user"], user["group"])
    command = [str(bin_ / "initdb"), "-D", str(data), "-U", "fabrique", f"--pwfile={secret}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
    secret.unlink()
    return data


def _launch(data: Path, bin_: Path, port: int, user: dict[str, Any]) -> subprocess.Popen[bytes]:
    command = [str(bin_ / "postgres"), "-D", str(data), "-p", str(port)]
    settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={data.parent}", *FAST)
    for setting in settings:
        command += ["-c", setting]
    if shutil.which("setpriv"):  # even a killed parent leaves no server behind
        command = ["setpriv", "--pdeathsig", "INT", *command]
    log = (data.parent / "log").open("wb")
    return subprocess.Popen(command, stdout=log, stderr=log, cwd=data.parent, start_new_session=True, **user)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def running() -> Iterator[str]:
    """The address of a server that is there while the block runs; LookupError where none is installed."""
    bin_ = programs()
    if bin_ is None:
        raise LookupError("PostgreSQL is not installed")
    folder, password = Path(tempfile.mkdtemp(prefix="fabrique-pg-")), secrets.token_hex(16)
    user, port = _other_user(), _free_port()
    server: subprocess.Popen[bytes] | None = None
    try:
        data = _initialise(folder, bin_, password, user)
        server = _launch(data, bin_, port, user)
        url = f"postgresql://fabrique:{password}@127.0.0.1:{port}/postgres"
        _wait_until_ready(server, url, folder / "log")
        yield url
    finally:
        if server is not None:
            _stop(server)
        shutil.rmtree(folder, ignore_errors=True)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)  # "fast": drops connections, ends cleanly
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)
        server.wait(10)


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with running() as url:
            return subprocess.run(arguments, env={**os.environ, "FABRIQUE_DATABASE_URL": url}).returncode
    except LookupError as missing:
        print(f"postgres: {missing}", file=sys.stderr)
        return NOT_INSTALLED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
