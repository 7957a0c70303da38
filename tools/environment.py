"""Make or refresh `.venv`: the pinned requirements, then this package, editable. Run by `make env` and `env-dev`.

Usage: python3 tools/environment.py STAMP REQUIREMENTS…   (needs only the standard library)

Each file is installed with its hashes checked. The stamp is touched last, so that an interrupted run is taken up
again. Exit code 1 with one clear message when Python, venv or pip is missing or an installation fails.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NEEDED = (3, 11)


def stop(message: str) -> None:
    sys.exit(f"env: {message}")


def say(message: str) -> None:
    print(f"env: {message}", flush=True)


def check_python() -> None:
    if sys.version_info < NEEDED:
        stop(
            f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed (PYTHON=/path/to/python3 chooses one)"
        )
    absent = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if absent:
        stop(f"Python's {' and '.join(absent)} is missing: on Debian, apt-get install python3-venv")


def has_pip() -> bool:
    command = [str(PYTHON), "-m", "pip", "--version"]
    return PYTHON.exists() and subprocess.run(command, capture_output=True).returncode == 0


def make_venv() -> None:
    if has_pip():
        return
    say(f"making {VENV.name} with Python {sys.version.split()[0]}")
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if done.returncode != 0 or not has_pip():
        stop(f"venv failed:\n{done.stdout}{done.stderr}")


def pip_install(*arguments: str, expected: int = 0) -> None:
    """Run pip; count what it collects on one line of a terminal; on failure show all that it said."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, count = [], 0
    for line in process.stdout or ():
        said.append(line)
        count += line.startswith("Collecting ")
        if expected and sys.stdout.isatty() and line.startswith(("Collecting ", "Installing ")):
            print(f"\r\033[K     {count}/{expected} {line.split()[1][:40]}", end="", flush=True)
    if expected and sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    if process.wait() != 0:
        stop(f"pip failed:\n{''.join(said[-40:])}")


def install(requirements: Path) -> None:
    expected = sum("==" in line for line in requirements.read_text(encoding="utf-8").splitlines())
    say(f"installing {expected} pinned packages of {requirements.relative_to(ROOT)}")
    pip_install("--require-hashes", "-r", str(requirements), expected=expected)


def install_this_package() -> None:
    say("installing fabrique itself, editable")
    pip_install("--no-build-isolation", "--no-deps", "--editable", ".")


def main(stamp: Path, requirements: list[Path]) -> None:
    check_python()
    make_venv()
    for path in requirements:
        install(path)
    install_this_package()
    stamp.touch()
    say(f"ready: {PYTHON.relative_to(ROOT)}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).absolute(), [Path(a).resolve() for a in sys.argv[2:]])
