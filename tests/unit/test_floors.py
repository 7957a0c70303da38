"""The floors of the house point one way: the contracts of `pyproject.toml`, kept."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fabrique"


def test_the_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def reads_of_the_environment(path: Path) -> list[str]:
    """Places where `os.environ` or `os.getenv` is read; writing a variable for a child is no read."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        get = isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.getenv", "os.environ.get"}
        item = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)
        if get or (item and ast.unparse(node.value) == "os.environ"):  # type: ignore[attr-defined]
            found.append(f"{path.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
    return found


def test_only_settings_and_the_command_line_read_the_environment() -> None:
    allowed = {SOURCE / "portal" / "settings.py"}
    files = [p for p in SOURCE.rglob("*.py") if p not in allowed and "cli" not in p.relative_to(SOURCE).parts]
    assert [place for path in files for place in reads_of_the_environment(path)] == []


def test_a_read_of_the_environment_is_seen() -> None:
    assert reads_of_the_environment(ROOT / "tests" / "conftest.py") != []
