"""The repository keeps its own rules: sizes, names, pinned requirements, vendored files, nothing left open."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THIS = Path(__file__).resolve()
MOST_LINES, MOST_FUNCTION_LINES = 400, 60
ONE_FILE = {"fabrique_verify.py": 620}  # people take it away, so it may not be split
LEFT_OPEN = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error", "pragma: no " + "cover")))
MACHINE = re.compile(rf"{re.escape(str(ROOT))}/|(?:^|[\s\"'`=(:])/(?:home|Users|work|mnt)/[\w.-]+")
INDEX = re.compile(r"(?im)^\s*(?:--)?(?:extra-)?index-url|py" + r"pi\.org|pythonhosted\.|/simple/?[\"'\s]")
HASHES = re.compile(r"^[0-9a-f]{64} [ *](\S.*)$")


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows or would add; a checkout without git is walked instead."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    done = subprocess.run([*command, *patterns], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        if "vendor" in path.parts or path.suffix in {".png", ".ico", ".woff2", ".pdf", ".gz", ".gmo"}:
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def places(pattern: re.Pattern[str]) -> list[str]:
    """file:line of every match outside this file, which has to name what it forbids."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        if path != THIS
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_open() -> None:
    assert [place for place in places(LEFT_OPEN) if ".py:" in place or ".html:" in place] == []


def test_no_package_index_is_named() -> None:
    assert places(INDEX) == []
    assert not [path for path in tracked() if path.name == "uv" + ".lock"]


def test_no_path_of_a_machine_is_named() -> None:
    assert places(MACHINE) == []


def test_modules_stay_small() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in tracked("*.py")}
    assert {
        str(path.relative_to(ROOT)): lines
        for path, lines in sizes.items()
        if lines > ONE_FILE.get(path.name, MOST_LINES)
    } == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_stay_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines"
        for path in tracked("src/*.py", "tools/*.py")
        if "migrations" not in path.parts
        for name, lines in functions(path)
        if lines > MOST_FUNCTION_LINES
    ]
    assert long == []


def test_test_files_have_names_of_their_own() -> None:
    names = Counter(path.name for path in tracked("tests/**/test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_rooms_have_telling_names() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}
    assert [str(path.relative_to(ROOT)) for path in tracked("*.py") if path.stem in vague] == []


# --- requirements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.txt", "dev.txt", "build.txt"])
def test_requirements_are_pinned_with_hashes_and_name_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    assert [entry for entry in entries if not re.match(r"[A-Za-z0-9_.\[\],-]+==\S+", entry)] == []
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def test_what_runs_is_pinned_alike_for_tests() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return set(re.findall(r"(?m)^([A-Za-z0-9_.\[\],-]+==[^\s;]+)", text))

    assert pins("run.txt") <= pins("dev.txt")


# --- pages ------------------------------------------------------------------------------------------------

INLINE = re.compile(r"\sstyle=|<style[\s>]|<script(?![^>]*\ssrc=)[^>]*>|\son[a-z]+=[\"']|javascript:", re.IGNORECASE)
OUTSIDE = re.compile(r"(?:src|href)=[\"'](?:https?:)?//|@import|url\([\"']?(?:https?:)?//", re.IGNORECASE)


def test_templates_hold_no_inline_style_or_script() -> None:
    pages = tracked("src/*.html")
    assert pages
    found = [str(path.relative_to(ROOT)) for path in pages if INLINE.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_pages_load_nothing_from_outside() -> None:
    files = [path for path in tracked("src/*.html", "src/*.css", "src/*.js", "src/*.svg") if "vendor" not in path.parts]
    loads = re.compile(r"<(?:script|link|img|iframe|source)[^>]*" + OUTSIDE.pattern, re.IGNORECASE)
    found = []
    for path in files:
        pattern = loads if path.suffix == ".html" else OUTSIDE
        if pattern.search(path.read_text(encoding="utf-8")):
            found.append(str(path.relative_to(ROOT)))
    assert found == []


def test_vendored_files_are_the_ones_recorded() -> None:
    vendored = [path for path in tracked("src/*") if "vendor" in path.parts]
    lists = [path for path in vendored if path.name.upper().startswith("SHA256")]
    assert lists, "vendored files come with a SHA256SUMS file"
    covered: set[Path] = set()
    for sums in lists:
        for line in sums.read_text(encoding="utf-8").splitlines():
            found = HASHES.match(line)
            assert found, f"{sums}: not a line of sha256sum: {line!r}"
            file = sums.parent / found[1]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == line[:64], f"{file} was changed"
            covered.add(file)
    licences = {path for path in vendored if path.name.upper().startswith("LICEN")}
    assert licences
    assert set(vendored) - covered - set(lists) - licences == set()
