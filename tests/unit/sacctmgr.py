"""A `sacctmgr` of our own over a file of JSON: as strict in what it takes; it keeps what was called.

program = install(tmp_path)      # an executable, for a process boundary
Book().run(["-i", "add", …])     # the same without a process, for thousands of examples
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

GROUP = ("grpjobs", "grpsubmitjobs")
SEAT = ("maxjobs", "maxsubmitjobs")


class RefusedError(Exception):
    pass


class Book:
    """One cluster, `lab`. The state is plain JSON: accounts, qos, users (login -> default account), resources."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state: dict[str, Any] = state or {
            "accounts": {"root": {"parent": "", "users": {"root": {}}}},
            "qos": {"normal": {}},
            "users": {"root": "root"},
            "resources": {},
            "deny": [],  # a call that has one of these words is refused
        }
        self.calls: list[list[str]] = []

    def run(self, words: list[str]) -> tuple[int, str, str]:
        self.calls.append(words)
        try:
            if any(denied in " ".join(words) for denied in self.state["deny"]):
                raise RefusedError("Access/permission denied")
            if words[:3] == ["-n", "-P", "show"]:
                return 0, "".join("|".join(row) + "\n" for row in self._show(words[3:])), ""
            if words[0] != "-i":
                raise RefusedError(f"would ask a person: {words}")
            getattr(self, f"_{words[1]}_{words[2]}")(words[3:])
        except RefusedError as error:
            return 1, "", f"sacctmgr: error: {error}\n"
        return 0, " Done\n", ""

    # --- show -------------------------------------------------------------------------------------------------

    def _show(self, words: list[str]) -> list[list[str]]:
        if words[0] == "assoc":
            return [row for name, account in self.state["accounts"].items() for row in self._association(name, account)]
        if words[0] == "user":
            return [[login, default] for login, default in self.state["users"].items()]
        if words[0] == "tres":
            return [["cpu", ""], ["mem", ""], ["gres", "gpu"], ["gres", "gpu:h100"]]
        if words[0] == "resource":
            return [[n, r["server"], "lab", str(r["count"])] for n, r in self.state["resources"].items()]
        flags = {name: "NoDecay" if q.get("nodecay") else "" for name, q in self.state["qos"].items()}
        return [
            [name, flags[name], _minutes(q), q.get("grpjobs", ""), q.get("grpsubmitjobs", ""), _clock(q)]
            for name, q in self.state["qos"].items()
        ]

    def _association(self, name: str, a: dict[str, Any]) -> list[list[str]]:
        qos, default = ",".join(self._qos_of(name)), a.get("defaultqos", "")
        own = [_minutes(a), a.get("grpjobs", ""), a.get("grpsubmitjobs", ""), "", "", _clock(a), qos, default]
        seats = [
            [
                *(name, login, "", "", "", "", "", s.get("maxjobs", ""), s.get("maxsubmitjobs", ""), ""),
                *(",".join(s.get("qos") or qos.split(",")), default),
            ]
            for login, s in a["users"].items()
        ]
        return [[name, "", "", a["parent"], *own], *seats]

    def _qos_of(self, name: str) -> list[str]:
        account = self.state["accounts"].get(name)
        if account is None:
            return ["normal"]
        return account.get("qos") or self._qos_of(account["parent"])

    # --- add --------------------------------------------------------------------------------------------------

    def _add_account(self, words: list[str]) -> None:
        given = _pairs(words)
        name, parent = given.pop("name").lower(), given.pop("parent")
        if name in self.state["accounts"]:
            raise RefusedError("Nothing new added.")
        if parent not in self.state["accounts"]:
            raise RefusedError(f"Parent account '{parent}' doesn't exist.")
        self.state["accounts"][name] = {"parent": parent, "users": {}}
        self._edit(self.state["accounts"][name], given)

    def _add_qos(self, words: list[str]) -> None:
        given = _pairs(words)
        name = given.pop("name").lower()
        if name in self.state["qos"]:
            raise RefusedError("Nothing new added.")
        self.state["qos"][name] = {}
        self._edit(self.state["qos"][name], given)

    def _add_user(self, words: list[str]) -> None:
        given = _pairs(words)
        account = self.state["accounts"].get(given["account"])
        if account is None:
            raise RefusedError("This account doesn't exist.")
        new = [login for login in given["name"].split(",") if login not in account["users"]]
        if not new:
            raise RefusedError("Nothing new added.")
        for login in new:
            account["users"][login] = {}
            self.state["users"][login] = self.state["users"].get(login) or given["account"]

    def _add_resource(self, words: list[str]) -> None:
        given = _pairs(words)
        if given["name"] in self.state["resources"] or given["cluster"] != "lab" or given["percentallowed"] != "100":
            raise RefusedError("Nothing new added.")
        self.state["resources"][given["name"]] = {"server": given["server"], "count": int(given["count"])}

    # --- modify -----------------------------------------------------------------------------------------------

    def _modify_account(self, words: list[str]) -> None:
        where, given = _where(words)
        account = self.state["accounts"].get(where["name"])
        if account is None or where["cluster"] != "lab" or given.get("parent", "root") not in self.state["accounts"]:
            raise RefusedError("Nothing modified")
        self._edit(account, given)

    def _modify_qos(self, words: list[str]) -> None:
        where, given = _where(words)
        if where["name"] not in self.state["qos"]:
            raise RefusedError("Nothing modified")
        self._edit(self.state["qos"][where["name"]], given)

    def _modify_user(self, words: list[str]) -> None:
        where, given = _where(words)
        for login in where["name"].split(","):
            if "defaultaccount" in given:
                if login not in self.state["accounts"].get(given["defaultaccount"], {"users": {}})["users"]:
                    raise RefusedError("User has no association in the default account")
                self.state["users"][login] = given["defaultaccount"]
                continue
            seat = self.state["accounts"][where["account"]]["users"].get(login)
            if seat is None:
                raise RefusedError("Nothing modified")
            self._edit(seat, given)

    def _modify_resource(self, words: list[str]) -> None:
        where, given = _where(words)
        self.state["resources"][where["name"]]["count"] = int(given["count"])

    def _edit(self, row: dict[str, Any], given: dict[str, str]) -> None:
        for key, value in given.items():
            if key in (*GROUP, *SEAT, "maxwall"):
                row.pop(key, None)
                if value != "-1":
                    row[key] = str(int(value))
            elif key == "grptresmins":
                minutes = row.setdefault("grptresmins", {})
                for part in value.split(","):
                    tres, _, number = part.rpartition("=")
                    if tres not in ("cpu", "mem", "gres/gpu", "gres/gpu:h100"):
                        raise RefusedError(f"no TRES known by type {tres}")
                    minutes.pop(tres, None)
                    if number != "-1":
                        minutes[tres] = int(number)
            elif key in ("flags", "flags+"):
                row["nodecay"] = value == "NoDecay"
            elif key == "qos" and not value:
                row.pop("qos", None)  # as the account has it
            elif key == "qos":
                if not set(value.split(",")) <= set(self.state["qos"]):
                    raise RefusedError(f"unknown QOS {value}")
                row["qos"] = value.split(",")
            elif key in ("parent", "defaultqos"):
                row[key] = value
            elif key not in ("cluster", "description", "organization"):
                raise RefusedError(f"Unknown option: {key}={value}")


def _pairs(words: list[str]) -> dict[str, str]:
    pairs = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    return {key.lower(): value for key, value in pairs.items()}


def _where(words: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    if words[0] != "where":
        raise RefusedError("Use keyword 'where' to modify condition")
    cut = words.index("set")
    return _pairs(words[1:cut]), _pairs(words[cut + 1 :])


def _minutes(row: dict[str, Any]) -> str:
    return ",".join(f"{tres}={n}" for tres, n in sorted(row.get("grptresmins", {}).items()))


def _clock(row: dict[str, Any]) -> str:
    if "maxwall" not in row:
        return ""
    minutes = int(row["maxwall"])
    days, hours = divmod(minutes // 60, 24)
    return (f"{days}-" if days else "") + f"{hours:02d}:{minutes % 60:02d}:00"


# --- as a program -----------------------------------------------------------------------------------------------------


def install(folder: Path, book: Book | None = None) -> Path:
    """`sacctmgr` in `folder`, beside its state `book.json` and `calls.jsonl`, one line a call."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "book.json").write_text(json.dumps((book or Book()).state))
    program = folder / "sacctmgr"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = {str(program)!r}\nexec(open({__file__!r}).read())\n"
    )
    program.chmod(0o755)
    return program


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _main() -> int:
    folder = Path(sys.argv[0]).parent
    book = Book(json.loads((folder / "book.json").read_text()))
    code, out, err = book.run(sys.argv[1:])
    with (folder / "calls.jsonl").open("a") as file:
        file.write(json.dumps(sys.argv[1:]) + "\n")
    (folder / "book.json").write_text(json.dumps(book.state))
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code


if __name__ == "__main__":
    sys.exit(_main())
