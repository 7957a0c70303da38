"""What a job sees: which folders go, which come back, and in which order."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.engines import isolation, view
from fabrique.engines.isolation import Isolation, detect

WORK = "/srv/hub/runs/run-1/work"
OWN = {"bind": f"{WORK}/tmp", "writable": True}


@pytest.fixture(autouse=True)
def no_temporary_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "TEMPORARY", ())


def cover(path: str) -> view.Step:
    return {"cover": path, "mode": "0755"}


def bind(path: str, writable: bool = False) -> view.Step:
    return {"bind": path, "at": path, "writable": writable}


def test_the_home_goes_and_the_work_folder_comes_back() -> None:
    assert view.steps(["/srv/hub"], [], WORK) == [cover("/srv/hub"), bind(WORK, True)]


def test_what_is_visible_anyway_needs_no_step() -> None:
    assert view.steps(["/srv/hub"], ["/usr/lib/python"], WORK) == [cover("/srv/hub"), bind(WORK, True)]


def test_what_a_cover_hides_comes_back_where_it_was() -> None:
    steps = view.steps(["/srv/hub", "/root"], ["/root/.pyenv/3.11"], WORK)
    assert steps == [cover("/root"), cover("/srv/hub"), bind("/root/.pyenv/3.11"), bind(WORK, True)]


def test_a_home_inside_an_exposed_folder_is_covered_again() -> None:
    steps = view.steps(["/root", "/root/hub/.fabrique"], ["/root/hub"], "/root/hub/.fabrique/runs/r/work")
    assert steps == [
        cover("/root"),
        bind("/root/hub"),
        cover("/root/hub/.fabrique"),
        bind("/root/hub/.fabrique/runs/r/work", True),
    ]


def test_a_cover_inside_a_cover_is_left_out() -> None:
    assert view.steps(["/root", "/root/hub"], [], "/root/hub/w") == [cover("/root"), bind("/root/hub/w", True)]


def test_a_home_inside_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "TEMPORARY", ("/tmp",))
    work = "/tmp/hub/runs/r/work"
    own = {"bind": f"{work}/tmp", "at": "/tmp", "writable": True}
    assert view.steps(["/tmp/hub"], [], work) == [own, bind(work, True)]


def test_the_topmost_closed_folder_blocks(tmp_path: Path) -> None:
    deep = tmp_path / "closed" / "also-closed" / "deep"
    deep.mkdir(parents=True)
    for path in (tmp_path, *tmp_path.parents):
        if not path.stat().st_mode & 0o001:
            assert view.blocked(str(deep)) == str(
                [p for p in (tmp_path, *tmp_path.parents) if not p.stat().st_mode & 1][-1]
            )
            return
    (tmp_path / "closed").chmod(0o700)
    assert view.blocked(str(deep)) == str(tmp_path / "closed")


def test_around_holds_everything_but_the_denied(tmp_path: Path) -> None:
    for name in ("a/x", "a/y/secret", "a/y/open", "b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "y" / "secret")
    (tmp_path / "a" / "file").touch()
    kept = view.around(str(tmp_path), [str(tmp_path / "a/y/secret"), "/elsewhere"])
    assert [os.path.relpath(path, tmp_path) for path in kept] == ["a/file", "a/x", "a/y/open", "b"]
    assert view.around(str(tmp_path / "a/y/secret/deeper"), [str(tmp_path / "a/y")]) == []
    assert view.around("/nowhere", ["/nowhere/secret"]) == []


def test_a_neighbour_whose_name_begins_alike_is_not_denied(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub-of-others").mkdir()
    assert view.around(str(tmp_path), [str(tmp_path / "hub")]) == [str(tmp_path / "hub-of-others")]


def test_a_sandbox_is_read_only_but_for_the_work_folder() -> None:
    arguments = view.sandbox([cover("/srv/hub"), bind(WORK, True)], with_devices=False)
    text = " ".join(arguments)
    assert "--ro-bind / /" in text and f"--bind {WORK} {WORK}" in text
    assert text.index("--tmpfs /srv/hub") < text.index(f"--bind {WORK}") < text.index("--remount-ro /srv/hub")
    assert {"--unshare-pid", "--as-pid-1", "--die-with-parent"} <= set(arguments)
    assert not any(argument.startswith("/dev/nvidia") for argument in arguments)


def test_a_run_without_a_user_is_refused_where_users_are_the_wall(tmp_path: Path) -> None:
    walls = Isolation("own-user", "", tmp_path, (), True)
    for uid in (None, 0, -1):
        with pytest.raises(FabriqueError, match=r"engine\.refused"):
            walls.order(tmp_path / "runs/r/work", uid, with_devices=False)


def test_where_nothing_works_one_trusted_user_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_try", lambda candidate: "it is forbidden")
    tmp_path.chmod(0o700)
    decided = detect(tmp_path)
    assert decided.single_user and decided.why.startswith("single trusted user")
    assert "it is forbidden" in decided.why or "own-user" not in decided.why
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_wall_that_lets_a_job_see_the_home_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is a real job: a wall that is none does not pass it."""
    monkeypatch.setattr(isolation, "_candidates", lambda home, exposed: [Isolation("none", "paper", home, exposed)])
    decided = detect(tmp_path, (Path(sys.prefix),))
    assert decided.single_user and "ended with 3" in decided.why
    assert list(tmp_path.iterdir()) == []
