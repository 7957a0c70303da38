"""The catalogues are complete, compile, and are never silently left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fabrique.language import catalogue

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources alone, without anything compiled."""
    root = tmp_path / "locale"
    shutil.copytree(catalogue.LOCALE, root, ignore=shutil.ignore_patterns("*.mo"))
    return root


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "catalogue.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_every_text_of_the_program_is_translated_and_every_translation_is_used() -> None:
    done = run("check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tool_says_how_it_is_used() -> None:
    done = run("nonsense")
    assert done.returncode == 1
    assert "compile" in done.stderr


def test_nothing_compiled_still_speaks_french(copy: Path) -> None:
    assert not catalogue.is_fresh("fr", copy)
    assert catalogue.translations("fr", copy).gettext("Sign in first.") == "Connectez-vous d’abord."


def test_a_compiled_catalogue_older_than_its_source_is_made_again(copy: Path) -> None:
    path = catalogue.write("fr", copy)
    assert catalogue.is_fresh("fr", copy)
    for po in catalogue.sources("fr", copy):
        text = po.read_text(encoding="utf-8").replace("Connectez-vous d’abord.", "Entrez d’abord.")
        po.write_text(text, encoding="utf-8")
        later = path.stat().st_mtime_ns + 10**9
        os.utime(po, ns=(later, later))
    assert not catalogue.is_fresh("fr", copy)
    assert catalogue.translations("fr", copy).gettext("Sign in first.") == "Entrez d’abord."
    assert catalogue.locale_path(copy) == copy
    assert b"Entrez" in path.read_bytes()


def test_where_nothing_can_be_written_a_private_copy_serves(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = catalogue.write

    def refuse(language: str, root: Path = catalogue.LOCALE, into: Path | None = None) -> Path:
        if into is None:
            raise PermissionError("read-only")
        return write(language, root, into)

    monkeypatch.setattr(catalogue, "write", refuse)
    folder = catalogue.locale_path(copy)
    assert folder != copy
    assert (folder / "fr_CA" / "LC_MESSAGES" / "django.mo").is_file()


def test_quebec_stands_by_itself(copy: Path) -> None:
    assert len(catalogue.merged("fr-ca", copy)) == len(catalogue.merged("fr", copy))
    own = [po for po in catalogue.sources("fr-ca", copy) if "fr_CA" in po.parts]
    assert own


def test_french_is_typeset_when_it_is_compiled() -> None:
    typed = "L'heure : « quand » ? Jamais ! Ou plus tard ; voir http://x:80/ et 12:30"
    assert catalogue.typographic(typed) == (
        "L’heure\u00a0: «\u00a0quand\u00a0»\u202f? Jamais\u202f! Ou plus tard\u202f; voir http://x:80/ et 12:30"
    )
    assert catalogue.typographic(catalogue.typographic(typed)) == catalogue.typographic(typed)
