"""The options that every command has, before or after its name: --home, --as, --language, --json.

    @command(app, "jobs")
    def jobs(call: Call, everyone: ...) -> None: ...

What stands after the command's name wins over what stands before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from fabrique.apps.this_hub import ThisHub


@dataclass(frozen=True, slots=True)
class Call:
    """How the command was called. `acting` is the e-mail address of the person it acts for."""

    home: Path | None = None
    acting: str | None = None
    language: str | None = None
    json: bool = False


@dataclass(slots=True)
class _Current:
    """The call of this process and the hub it opened, for the place where its errors are said."""

    call: Call = Call()
    here: ThisHub | None = None


current: Final = _Current()

HOME: Final = typer.Option("--home", metavar="DIR", help="The hub's folder (else FABRIQUE_HOME, else .fabrique/HUB).")
ACTING: Final = typer.Option("--as", metavar="EMAIL", help="Act for this person of the hub (else the login's).")
LANGUAGE: Final = typer.Option("--language", metavar="CODE", help="fr, fr-ca or en (else LC_ALL, LC_MESSAGES, LANG).")
JSON: Final = typer.Option("--json", help="Answer with one JSON document on standard output.")
_OPTIONS: Final[dict[str, tuple[Any, Any, Any]]] = {
    "home": (Path | None, HOME, None),
    "acting": (str | None, ACTING, None),
    "language": (str | None, LANGUAGE, None),
    "json": (bool, JSON, False),
}


def take(home: Path | None, acting: str | None, language: str | None, json: bool, *, anew: bool = False) -> Call:
    """The call with these options over those given before the command's name; `anew` forgets the latter."""
    if anew:
        current.here = None
    before = Call() if anew else current.call
    current.call = Call(home or before.home, acting or before.acting, language or before.language, json or before.json)
    return current.call


def command(
    app: typer.Typer, name: str, flags: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers `name` on `app`: the function's own parameters, then the shared options, given to it as `call`.

    `flags` (name -> help) become options too; those that were used reach the function as the mapping `flags`.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        extra = [_flag(key, text) for key, text in (flags or {}).items()]

        @wraps(function)
        def run(**given: Any) -> None:
            call = take(**{option: given.pop(option) for option in _OPTIONS})
            if flags is not None:
                used = {key: given.pop(_python(key)) for key in flags}
                given["flags"] = {key: value for key, value in used.items() if value is not None}
            function(call, **given)

        parameters = [*(p for p in own if p.name != "flags"), *extra, *map(_shared, _OPTIONS)]
        del run.__dict__["__wrapped__"]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        app.command(name)(run)
        return function

    return register


def _shared(name: str) -> inspect.Parameter:
    annotation, option, default = _OPTIONS[name]
    return _keyword(name, Annotated[annotation, option], default)


def _flag(key: str, text: str) -> inspect.Parameter:
    option = typer.Option(f"--{key}", metavar="VALUE", help=text)
    return _keyword(_python(key), Annotated[str | None, option], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _python(key: str) -> str:
    return f"flag_{key.replace('-', '_')}"
