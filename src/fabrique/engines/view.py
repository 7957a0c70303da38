"""What a job sees of the machine's files: the hub's home and other people's folders away, its own work folder there.

Pure but for looking at folders. One list of steps, said three ways: mounts, bubblewrap's arguments, Landlock's lists.
"""

# Paths are texts here: they go to system calls, arguments and JSON.
# ruff: noqa: PTH112, PTH114, PTH116, PTH118, PTH120, PTH208

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from typing import Final

from fabrique.engines import records

Step = dict[str, object]

GPU_NODES: Final = ("/dev/nvidia", "/dev/kfd", "/dev/dri", "/dev/accel", "/dev/habanalabs", "/dev/hl")
PLAIN_NODES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - each run gets its own in their place


def steps(covered: Iterable[str], exposed: Iterable[str], work: str) -> list[Step]:
    """Steps in which `covered` folders disappear, `exposed` ones stay readable, and `work` is the job's own.

    Temporary folders become the run's own, under its work folder. A step that another makes needless is left out.
    All paths are absolute and without symbolic links.
    """
    wanted: dict[str, Step] = {path: {"cover": path, "mode": "0755"} for path in covered}
    wanted |= {path: {"bind": path, "at": path, "writable": False} for path in exposed}
    own = f"{work}/{records.TEMPORARY}"
    wanted |= {path: {"bind": own, "at": path, "writable": True} for path in TEMPORARY if os.path.isdir(path)}
    wanted[work] = {"bind": work, "at": work, "writable": True}
    kept: dict[str, Step] = {}
    for path in sorted(wanted, key=lambda path: path.count("/")):
        step = wanted[path]
        around = next((kept[above] for above in _ancestors(path) if above in kept), None)
        hidden = around is not None and ("cover" in around or around["bind"] != around["at"])
        if ("cover" in step and not hidden) or ("bind" in step and (hidden or step["writable"])):
            kept[path] = step
    return list(kept.values())


def blocked(path: str) -> str | None:
    """The topmost folder on the way to `path` that a stranger may not pass; None when the way is free."""
    for above in reversed(_ancestors(path)):
        if not os.stat(above).st_mode & stat.S_IXOTH:
            return above
    return None


def sandbox(arranged: Sequence[Step], with_devices: bool) -> list[str]:
    """The same steps as arguments of bwrap(1): the rest of the machine is read-only, processes are the run's own."""
    arguments = ["--unshare-pid", "--unshare-ipc", "--as-pid-1", "--die-with-parent", "--new-session"]
    arguments += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    covers = []
    for step in arranged:
        if "cover" in step:
            covers.append(str(step["cover"]))
            arguments += ["--perms", str(step["mode"]), "--tmpfs", covers[-1]]
        else:
            arguments += ["--bind" if step["writable"] else "--ro-bind", str(step["bind"]), str(step["at"])]
    for path in covers:
        arguments += ["--remount-ro", path]
    for node in gpu_nodes() if with_devices else []:
        arguments += ["--dev-bind-try", node, node]
    return arguments


def fence(covered: Sequence[str], exposed: Iterable[str], work: str, with_devices: bool) -> dict[str, list[str]]:
    """The same as lists for Landlock, which can only allow: everything beside the way to what is covered."""
    denied = [*covered, *TEMPORARY, "/dev", "/run"]
    readable = around("/", denied)
    for path in exposed:
        readable += around(path, [other for other in denied if _is_within(other, path)])
    devices = [*PLAIN_NODES, *(gpu_nodes() if with_devices else [])]
    return {"readable": readable, "writable": [work], "devices": devices}


def around(root: str, denied: Sequence[str]) -> list[str]:
    """The largest folders and files below `root` that together hold all of it but `denied`."""
    if any(_is_within(root, other) for other in denied):
        return []
    if not any(_is_within(other, root) for other in denied):
        return [root]
    found: list[str] = []
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    for name in names:
        path = os.path.join(root, name)
        if not os.path.islink(path):
            found += around(path, denied)
    return found


def gpu_nodes() -> list[str]:
    """Device files of accelerators on this machine."""
    return [f"/dev/{name}" for name in sorted(os.listdir("/dev")) if f"/dev/{name}".startswith(GPU_NODES)]


def _ancestors(path: str) -> list[str]:
    """Folders above `path`, nearest first, without `/`."""
    above = []
    while (path := os.path.dirname(path)) != "/":
        above.append(path)
    return above


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
