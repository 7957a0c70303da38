"""Pools and access modes go by their names on every page, not by the ids of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fabrique.apps.names import mode_name, pool_name
from fabrique.language import Speaker

pytestmark = pytest.mark.django_db


def test_names_are_the_definition_s_in_the_reader_s_language(desk: Any, speaker: Callable[..., Speaker]) -> None:
    french = speaker("fr")
    assert [pool_name("startup", s) for s in (speaker(), french)] == ["Startups", "Jeunes pousses"]
    assert pool_name("commercial", french) not in ("commercial", "None", "")  # no name is published: its sort
    assert pool_name("unassigned", french) != "unassigned"
    assert pool_name("gone", french) == "gone"
    assert mode_name("lasalle_startup", french) not in ("lasalle_startup", mode_name("lasalle_startup", speaker()))
    assert mode_name("gone", french) == "gone"


def test_pages_show_no_raw_id(desk: Any) -> None:
    for who, path in (
        ("pi", f"/projects/{desk.project.code}"),
        ("pi", f"/jobs/{desk.job.number}"),
        ("operator", "/operate"),
        ("operator", f"/applications/{desk.waiting.id}"),
        ("pi", f"/statements/{desk.project.code}.html"),
    ):
        page = desk.client(who).get(path).content.decode()
        for raw in (
            ">startup</th",
            ">startup</dd",
            "pool startup",
            "lasalle_startup<",
            "lasalle_research<",
            "mode lasalle_",
        ):
            assert raw not in page, (path, raw)
