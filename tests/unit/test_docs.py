"""The documents say what the program is: the reference is fresh, links and commands in the texts exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fabrique.core.errors import ERRORS, Sort
from fabrique.core.reasons import REASONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEXTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```(?:sh|console|bash)\n(.*?)```", re.DOTALL)


@cache
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["reasons", "errors", "settings", "commands", "routes", "metrics"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    assert text_of(name) == reference().PAGES[name](), f"docs/reference/{name}.md is stale: run `make docs`"


@pytest.mark.parametrize(("name", "codes"), [("reasons", list(REASONS)), ("errors", list(ERRORS))])
def test_every_code_is_documented_in_two_languages(name: str, codes: list[str]) -> None:
    rows = [row.split(" | ") for row in text_of(name).splitlines() if row.startswith("| `")]
    said = {row[0].strip("| `"): [cell.strip(" |") for cell in row[-2:]] for row in rows if len(row) == 4}
    assert set(said) == set(codes)
    assert [code for code, (english, french) in said.items() if not english or not french or english == french] == []


def test_every_sort_of_error_is_explained() -> None:
    assert set(reference().SORT_MEANINGS) == {sort.name for sort in Sort}


def test_every_setting_read_is_documented() -> None:
    source = (ROOT / "src" / "fabrique" / "portal" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r"environ(?:\.get\(|\[)\s*\"(\w+)\"", source))
    assert read == set(reference().settings_described())


def test_every_route_says_what_it_is() -> None:
    rows = [line for line in text_of("routes").splitlines() if line.startswith("| `/")]
    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


# --- hand-written texts -----------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors a Markdown renderer gives to headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_document_is_reached_from_the_index() -> None:
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        links = (target.partition("#")[0] for target in LINK.findall(path.read_text(encoding="utf-8")))
        waiting += [(path.parent / link).resolve() for link in links if link and not re.match(r"[a-z]+:", link)]
    assert sorted(str(p.relative_to(ROOT)) for p in DOCS.rglob("*.md") if p not in reached) == []


def shown(path: Path) -> list[str]:
    """Every command line in the code blocks of a text, without prompt, comment and leading variables."""
    lines = [line for block in BLOCK.findall(path.read_text(encoding="utf-8")) for line in block.splitlines()]
    commands = [re.sub(r"\s+#.*$", "", line.strip().removeprefix("$ ")) for line in lines]
    return [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command) for command in commands]


def subcommand(root: Any, words: list[str]) -> tuple[Any, list[str]]:
    while words and words[0] in getattr(root, "commands", {}):
        root, words = root.commands[words[0]], words[1:]
    return root, words


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_texts_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):.*##", makefile))
    wrong = []
    for line in shown(path):
        program, *words = line.split() or [""]
        if program == "make" and not {w for w in words if "=" not in w} <= targets:
            wrong.append(line)
        if program.rpartition("/")[2] == "fabrique" and not is_command(words):
            wrong.append(line)
    assert wrong == []


def is_command(words: list[str]) -> bool:
    from typer.main import get_command

    from fabrique.cli.main import app

    root = get_command(app)
    values = {option for p in root.params for option in p.opts if not getattr(p, "is_flag", False)}
    while words and words[0].startswith("--"):  # options before the command's name
        words = words[2 if words[0] in values else 1 :]
    command, rest = subcommand(root, words)
    known = {option for p in command.params for option in [*p.opts, *p.secondary_opts]} | {"--help"}
    leaf = not getattr(command, "commands", {}) or getattr(command, "invoke_without_command", False)
    return leaf and {word.split("=")[0] for word in rest if word.startswith("--")} <= known


def test_a_command_that_does_not_exist_is_seen() -> None:
    assert is_command(["--as", "a@example.org", "jobs", "--all"])
    assert not is_command(["jobs", "--everything"])
    assert not is_command(["frobnicate"])


def test_both_readmes_show_the_same_commands() -> None:
    english, french = shown(ROOT / "README.md"), shown(ROOT / "README.fr.md")
    assert [c.split()[:2] for c in english if c] == [c.split()[:2] for c in french if c]
    assert "make up" in english and "make test" in english


def test_make_help_names_every_command() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    for name in "help env up check test soak lint types bench docs".split():
        assert f"make {name} " in done.stdout


def test_the_check_of_the_reference_can_fail(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.path.insert(0, 'tools'); import reference;"
        f"reference.ROOT = pathlib.Path({str(tmp_path)!r}); reference.FOLDER = reference.ROOT / 'reference';"
        "reference.PAGES = {'settings': reference.settings}; sys.exit(reference.main(['--check']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "stale: reference/settings.md" in done.stdout
