"""Write `docs/reference/*.md` from the code: reasons, errors, settings, commands, routes, metrics.

`tools/reference.py` writes the pages; `tools/reference.py --check` names the ones that are stale and exits 1.
A test does the latter, so that nothing of the program goes undocumented or untranslated.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.urls import URLPattern

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "fabrique"
WRITTEN = "*Written from the code by `make docs`; do not edit.*"
METRIC_KINDS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(head), line("---" for _ in head), *map(line, rows)])


def page(title: str, introduction: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", WRITTEN, introduction, *parts]) + "\n"


def french(sentence: str) -> str:
    from fabrique.language import catalogue

    return str(catalogue.translations("fr").gettext(sentence))


def said(sentences: dict[str, str], code: str) -> Iterator[str]:
    """The sentence of a code, then those for an unknown parameter, in English and in French."""
    written = [text for key, text in sentences.items() if key == code or key.startswith(f"{code}?")]
    yield "<br>".join(written)
    yield "<br>".join(map(french, written))


# --- pages ------------------------------------------------------------------------------------------------


def reasons() -> str:
    from fabrique.core.reasons import REASONS
    from fabrique.language.reasons import SENTENCES

    rows = [
        (f"`{code}`", ", ".join(f"`{name}`" for name in names), *said(SENTENCES, code))
        for code, names in REASONS.items()
    ]
    introduction = (
        "Every wait, refusal, placement, end, refund, answer of eligibility and record of a right carries one of "
        "these. The code and its parameters are stored; the sentence is made for the reader. A second sentence in "
        "a cell is said when a parameter is unknown."
    )
    return page("Reasons", introduction, table(("code", "parameters", "English", "français"), rows))


def errors() -> str:
    from fabrique.cli import failures
    from fabrique.core.errors import ERRORS, Sort
    from fabrique.language.errors import SENTENCES

    exits = {sort.value: SORT_MEANINGS[sort.name] for sort in Sort} | {
        0: "done",
        failures.NO: "the answer is no: the ledger diverged, the job that was waited for failed, not eligible",
        failures.INTERRUPTED: "interrupted",
        failures.NOBODY_READS: "nobody reads the output any more",
    }
    codes = [(f"`{code}`", str(sort.value), *said(SENTENCES, code)) for code, sort in ERRORS.items()]
    introduction = (
        "What goes wrong has a code and parameters; the command line ends with the exit code of its sort. "
        "All exit codes:"
    )
    ends = table(("exit code", "meaning"), ((str(code), meaning) for code, meaning in sorted(exits.items())))
    return page("Errors and exit codes", introduction, ends, table(("code", "exit", "English", "français"), codes))


SORT_MEANINGS = {
    "INPUT": "what was given is wrong: mend it and try again",
    "DENIED": "this person may not do this",
    "MISSING": "there is no such thing",
    "CONFLICT": "it can't be done in this state",
    "UNAVAILABLE": "a part of the hub does not answer",
}


def settings_described() -> dict[str, str]:
    """Name -> meaning, from the docstring of the settings module."""
    tree = ast.parse((SOURCE / "portal" / "settings.py").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    name = ""
    for line in (ast.get_docstring(tree) or "").splitlines():
        start = re.match(r"(FABRIQUE_\w+)\s+(.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif name and line.startswith(" "):
            found[name] += " " + line.strip()
        else:
            name = ""
    return found


def settings() -> str:
    rows = [(f"`{name}`", meaning) for name, meaning in settings_described().items()]
    introduction = "Read once from the environment when a process starts; nothing else of the program reads it."
    return page("Settings", introduction, table(("variable", "meaning"), rows))


def commands() -> str:
    from typer.main import get_command

    from fabrique.cli.main import app

    root = get_command(app)
    shared = [p for p in root.params if p.name != "version"]
    parts = [described(name, command, {p.name for p in shared}) for name, command in sorted(walk(root, "fabrique"))]
    introduction = (
        "Exit codes are those of [errors](errors.md), and 0 when all went well. The options that every command takes, "
        "before or after its name:"
    )
    return page("Commands", introduction, table(("option", "meaning"), map(parameter_row, shared)), *parts)


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that call it."""
    subcommands: dict[str, Any] = getattr(command, "commands", {})
    if not subcommands or getattr(command, "invoke_without_command", False):
        yield name, command
    for word, subcommand in subcommands.items():
        if not subcommand.hidden:
            yield from walk(subcommand, f"{name} {word}")


def described(name: str, command: Any, shared: set[str]) -> str:
    own = [p for p in command.params if p.name not in shared | {"help"}]
    arguments = [p.metavar or p.name.upper() for p in own if p.param_type_name == "argument"]
    parts = [f"## `{' '.join([name, *arguments])}`", " ".join((command.help or "").split())]
    return "\n\n".join([*parts, table(("parameter", "meaning"), map(parameter_row, own))] if own else parts)


def parameter_row(parameter: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        value = f" {parameter.metavar}" if parameter.metavar and not parameter.is_flag else ""
        name = ", ".join(f"`{option}{value}`" for option in [*parameter.opts, *parameter.secondary_opts])
    return name, " ".join(str(getattr(parameter, "help", "") or "").split())


def routes() -> str:
    prepare_django()
    from django.urls import get_resolver

    rows = [
        (f"`/{path}`", f"`{pattern.name}`" if pattern.name else "", meaning_of(pattern.callback))
        for path, pattern in addresses(get_resolver().url_patterns, "")
    ]
    introduction = "Every address the portal answers. `/api/` addresses are described in full by its OpenAPI document."
    return page("Routes", introduction, table(("address", "name", "what it is"), rows))


def prepare_django() -> None:
    """The page depends on no home; one that is empty keeps it so."""
    os.environ.setdefault("FABRIQUE_HOME", tempfile.gettempdir() + "/fabrique-reference")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fabrique.portal.settings")
    import django

    django.setup()


def addresses(patterns: Iterable[Any], prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        plain = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", str(pattern.pattern))
        text = prefix + re.sub(r"\\Z|[\^$\\]", "", plain)
        if hasattr(pattern, "url_patterns"):
            yield from addresses(pattern.url_patterns, text)
        else:
            yield text, pattern


def meaning_of(view: Any) -> str:
    """The first line of the view's docstring; the package of one that is not ours; empty when ours says nothing."""
    while not hasattr(view, "view_class") and hasattr(view, "__wrapped__"):
        view = view.__wrapped__
    documented = getattr(view, "view_class", view)
    package = str(documented.__module__).partition(".")[0]
    if package != "fabrique":
        return f"of {package}: {documented.__name__}"
    return str(documented.__doc__ or "").strip().partition("\n")[0]


def metrics_declared() -> dict[str, tuple[str, str, str]]:
    """Name -> (kind, labels, help) of every metric family that the source makes with a literal name."""
    found: dict[str, tuple[str, str, str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                kind = ast.unparse(node.func).rpartition(".")[2].removesuffix("MetricFamily")
                literals = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                if kind in METRIC_KINDS and len(literals) == 2:
                    labels = [name for k in node.keywords if k.arg == "labels" for name in ast.literal_eval(k.value)]
                    found[literals[0]] = (kind.lower(), ", ".join(f"`{name}`" for name in labels), literals[1])
    return found


def metrics() -> str:
    rows = [(f"`{name}`", *described_) for name, described_ in sorted(metrics_declared().items())]
    if not rows:
        return page("Metrics", "The hub publishes no metric for collectors yet.", "")
    introduction = (
        "What `/metrics` gives to a collector, in Prometheus's text format. What is not known has no sample. How to "
        "collect it, and the dashboard that draws it, are in [the operator's guide](../operator.md#metrics)."
    )
    return page("Metrics", introduction, table(("name", "kind", "labels", "meaning"), rows))


PAGES: dict[str, Callable[[], str]] = {
    "reasons": reasons,
    "errors": errors,
    "settings": settings,
    "commands": commands,
    "routes": routes,
    "metrics": metrics,
}


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    stale = []
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        path, text = FOLDER / f"{name}.md", make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    print("\n".join(f"{'stale' if check else 'written'}: {name}" for name in stale) or "docs/reference is up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
