"""An order in sbatch's words, and the script that Slurm is given in place of a person's own.

A person's `#SBATCH` lines must not change what the hub decided and holds a budget for: Slurm stops reading them at the
first command, and ours comes before. The person's script is then run as it stands, by its own interpreter.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.model import Order

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:+-]{0,127}")
_MOST_LINE: Final = 1000
_NOT_STARTED: Final = 127
_START: Final = """\
#!/bin/sh
umask 077
base64 -d >.{intent}.new <<'{end}' && chmod 700 .{intent}.new && mv -f .{intent}.new {name} || exit {code}
{script}
{end}
exec ./{name}
"""


def plain(word: str, field: str) -> str:
    """A name that no command can take for anything else. Raises `job.field`."""
    if not _PLAIN.fullmatch(word):
        raise FabriqueError("job.field", field=field, why="form")
    return word


def line(words: str) -> str:
    """A text as one line without control characters, at most 1,000 characters."""
    return "".join(sign if sign.isprintable() else " " for sign in words)[:_MOST_LINE].strip()


def minutes(span_ms: int) -> int:
    """Slurm's limits are whole minutes; a shorter one is rounded up, so that no job gets less than it asked for."""
    return max(1, -(-span_ms // 60_000))


def signal(order: Order) -> str | None:
    """`B:USR1@60`: to the batch script alone, so many seconds before the limit."""
    if order.signal is None:
        return None
    return f"B:{plain(order.signal, 'preempt_signal')}@{lead_s(order)}"


def lead_s(order: Order) -> int:
    """Whole seconds, as many as Slurm can count."""
    return min(65_535, max(1, -(-order.lead_ms // 1000)))


def licences(numbers: Mapping[str, int]) -> str:
    return ",".join(f"{plain(name, 'licences')}:{int(number)}" for name, number in sorted(numbers.items()))


def gres(order: Order) -> str | None:
    return None if order.gres is None else plain(order.gres, "gres")


def path(where: str, field: str) -> str:
    """Absolute, and without the signs that Slurm expands in a file's name. Raises `job.field`."""
    if not where.startswith("/") or not where.isprintable() or "%" in where or "\\" in where or len(where) > 4000:
        raise FabriqueError("job.field", field=field, why="form")
    return where


def options(order: Order, group: int | None) -> list[str]:
    """For sbatch; the script comes on its standard input, the environment in a file. Raises `job.field`.

    `group` is the number of the user's own group: without it the job would run in the group of whoever submits.
    """
    wanted = [
        "--parsable",
        "--no-requeue",
        "--open-mode=append",
        "--export=ALL",  # with a file of its own, ALL is that file and no more; NIL drops it in newer versions
        "--input=none",
        f"--job-name={plain(order.intent, 'intent')}",
        f"--account={plain(order.account, 'account')}",
        f"--partition={plain(order.partition, 'partition')}",
        f"--nodes={int(order.nodes)}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={int(order.cores)}",
        f"--time={minutes(order.limit_ms)}",
        f"--output={path(order.output, 'output')}",
        f"--chdir={path(order.folder, 'folder')}",
    ]
    optional = {
        "uid": None if order.user is None else plain(order.user, "user"),
        "gid": None if group is None else str(group),
        "qos": None if order.qos is None else plain(order.qos, "qos"),
        "mem": None if order.memory_mb is None else f"{int(order.memory_mb)}M",
        "gres": gres(order),
        "licenses": licences(order.licences) or None,
        "signal": signal(order),
        "comment": line(order.comment) or None,
    }
    wanted += [f"--{name}={value}" for name, value in optional.items() if value is not None]
    return [*wanted, *(["--hold"] if order.held else [])]


def environment_file(environment: Mapping[str, str]) -> bytes:
    """NAME=value, a zero byte after each, as `--export-file` reads it."""
    return b"".join(f"{name}={value}\0".encode("utf-8", "surrogateescape") for name, value in environment.items())


def wrapped(script: bytes, intent: str, name: str = "script") -> bytes:
    """`script` as a file of its folder, run in place of this one: its exit code and its signals are the job's."""
    text = b64encode(script).decode()
    folded = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    end = f"end-of-{plain(intent, 'intent')}"
    return _START.format(intent=intent, name=name, script=folded, end=end, code=_NOT_STARTED).encode()
