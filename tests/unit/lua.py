"""Runs the generated `job_submit.lua` under a Lua interpreter, with a `slurm` of our own around it.

answer = ask(folder, choice, [submit({"account": "p-1", "script": "#!/bin/sh"})], state="…", lua="lua5.1")
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabrique.engines.slurm.files import door
from fabrique.engines.slurm.files.door import AccountRoom, PartitionRoom
from fabrique.engines.slurm.files.render import HELD, LUA, Choice, PartitionPower, _lua, generate

NO_VAL, NO_VAL16, INFINITE = 4294967294, 65534, 4294967295
USER = 1002
EACH_W = 100  # of one licence
NOW = 1_800_000_000  # by the clock of script and hub alike: two readings of a real one may lie a second apart
UNSET: dict[str, Any] = {  # as Slurm 22.05 hands over what nobody set
    "user_id": USER, "account": None, "default_account": "p-1", "partition": None, "priority": NO_VAL, "licenses": None,
    "min_nodes": NO_VAL, "max_nodes": NO_VAL, "min_cpus": 1, "num_tasks": NO_VAL, "cpus_per_task": NO_VAL16,
    "ntasks_per_node": NO_VAL16, "pn_min_cpus": NO_VAL16, "shared": NO_VAL16, "script": "#!/bin/sh\n", "name": "wrap",
}  # fmt: skip
JOB = {**UNSET, "account": "p-1", "partition": "gpu", "priority": 0, "admin_comment": HELD,
       "licenses": "fabrique_w@fabrique:14", "tres_per_node": "gres:gpu:2"}  # fmt: skip

DRIVER = """
slurm = { SUCCESS = 0, ERROR = -1, ESLURM_ACCOUNTING_POLICY = 2050, NO_VAL = 4294967294, SPREAD_JOB = 256,
          reservations = { elsewhere = { partition = "other" }, here = { partition = "flex" }, any = {} } }
os.time = function() return @NOW@ end
local told = {}
slurm.log_info = function() end
slurm.log_error = function(f, ...) told[#told + 1] = "error " .. string.format(f, ...) end
slurm.log_user = function(f, ...) told[#told + 1] = string.format(f, ...) end
local function strict(row) -- a field that this Slurm does not have raises, as its own do not: worse than any
  return setmetatable({}, { __index = function(_, k)
    if k == "cpus_per_tres" then error("no such field") end
    return row[k]
  end, __newindex = function(_, k, v) row[k] = v end })
end
local parts = { gpu = { flag_default = 1, max_share = 1 }, flex = { flag_default = 0, max_share = 1 },
                other = { flag_default = 0 }, whole = { max_share = 0 } }
local function lose(how)
  os.remove(@STATE@)
  if how == "missing" then return end
  if how == "a folder" then os.execute("mkdir -- '" .. @STATE@ .. "'") return end
  local file = io.open(@STATE@, "wb")
  file:write(how == "half" and "fabrique-door 1\\naccount x 1 1\\n" or string.rep("\\255\\000end", 1000))
  file:close()
end
dofile(@FILE@)
for _, call in ipairs(@CALLS@) do if call.loses then lose(call.loses) else
  told = {}
  local code
  local before = {}
  for k, v in pairs(call.job) do before[k] = v end
  if call.change then
    before = {}
    for k, v in pairs(call.change) do before[k] = v end
    code = slurm_job_modify(strict(call.change), strict(call.job), parts, call.uid)
  else
    code = slurm_job_submit(strict(call.job), parts, call.uid)
  end
  print("code " .. tostring(code))
  for k, v in pairs(call.change or call.job) do
    if before[k] ~= v then print("set " .. k .. " " .. tostring(v)) end
  end
  for _, line in ipairs(told) do print("told " .. line) end
  print("done")
end end
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """`set` are the fields that the script changed, `told` its lines to the user, with `error ` before the log's."""

    code: int
    set: Mapping[str, str]
    told: tuple[str, ...]


def units(answer: Answer) -> str:
    return answer.set.get("licenses", "")


def power(*names: str) -> PartitionPower:
    """Four nodes of eight devices, 96 cores and 1,000,000 MB."""
    return PartitionPower(names, 4, 8, 96, 1_000_000, 620, 4)


def choice(folder: Path, **changed: Any) -> Choice:
    given: dict[str, Any] = {
        "conf": "/etc/slurm/slurm.conf", "bin": "/usr/bin", "hub_uids": (0, 990), "hold": "accounts", "door": "open",
        "silent_s": 60, "licence": "fabrique_w", "pue_permille": 1000, "state": str(folder / "door"),
        "levels": str(folder / "levels"), "partitions": (power("gpu", "flex"),),
    }  # fmt: skip
    return Choice(**(given | changed))


def submit(fields: Mapping[str, Any], uid: int = USER) -> dict[str, Any]:
    return {"job": _set({**UNSET, **fields}), "uid": uid}


def modify(change: Mapping[str, Any], job: Mapping[str, Any], uid: int = USER) -> dict[str, Any]:
    return {"change": _set(change), "job": _set(job), "uid": uid}


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}


def ask(folder: Path, chosen: Choice, calls: Sequence[Mapping[str, Any]], *, lua: str) -> list[Answer]:
    """The script's answers to `calls`, one process for all: what it remembers in between is kept.

    A call `{"loses": "missing" | "half" | "a folder" | "not text"}` does so to the hub's file, and has no answer.
    """
    folder.mkdir(exist_ok=True)
    file = folder / LUA
    file.write_bytes(next(g.content for g in generate(chosen) if g.name == LUA))
    listed = dict(enumerate(calls, start=1))
    text = (
        DRIVER.replace("@NOW@", str(NOW))
        .replace("@STATE@", json.dumps(chosen.state))
        .replace("@FILE@", json.dumps(str(file)))
        .replace("@CALLS@", _lua(listed))
    )
    done = subprocess.run([lua, "-"], input=text, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    answers, code, fields, told = [], 0, {}, []
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word == "code":
            code, fields, told = int(rest), {}, []
        elif word == "set":
            name, _, value = rest.partition(" ")
            fields[name] = value
        elif word == "told":
            told.append(rest)
        else:
            answers.append(Answer(code, fields, tuple(told)))
    assert len(answers) == sum("loses" not in call for call in calls), done.stdout
    return answers


Ask = Callable[..., list[Answer]]


def at_door(folder: Path, lua: str) -> Ask:
    """`at_door(…)(*calls, age_s=…, **choice)`: their answers; what the hub says is so old, None: it is left alone."""

    def run(
        *calls: Any,
        age_s: int | None = 0,
        licences: int | None = 900,
        each_w: int = EACH_W,
        whole: bool = False,
        **chosen: Any,
    ) -> list[Answer]:
        if whole:  # a partition that gives whole nodes
            chosen["partitions"] = (power("gpu", "flex", "whole"),)
        accounts = [AccountRoom("p-1", 8, 96), AccountRoom("p-0", 0, 0)]
        partitions = [PartitionRoom("gpu", 12, 400, 4_000), PartitionRoom("flex", 4, 50, 2_000)]
        if age_s is not None:
            door.write(
                folder / "door", (NOW - age_s) * 1000, accounts, partitions, door.Licences(licences or 0, each_w)
            )
        return ask(folder, choice(folder, **chosen), calls, lua=lua)

    return run
