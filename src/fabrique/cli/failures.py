"""What goes wrong, said once: a sentence and every complaint on standard error, an exit code, never a traceback.

0 done; 1 the answer is no (the ledger diverged, a waited job failed, not eligible); 2 bad input; 3 denied; 4 missing;
5 conflict; 6 unavailable; 130 interrupted; 141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from fabrique.cli import output
from fabrique.cli.context import speaker
from fabrique.cli.shared import current
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

NO: Final = 1
INTERRUPTED: Final = 130
NOBODY_READS: Final = 141
_LISTS: Final = ("complaints", "errors", "reason")  # said on lines of their own


def exit_code(error: BaseException) -> int:
    """Says what `error` is, where it is one that people meet, and answers the exit code; else raises it again."""
    if isinstance(error, BrokenPipeError):
        return _let_go()
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("\n")
        return INTERRUPTED
    known = _known(error)
    if known is None:
        raise error
    _say(known)
    return known.sort.value


def _known(error: BaseException) -> FabriqueError | None:
    if isinstance(error, FabriqueError):
        return error
    if isinstance(error, OSError):
        return FabriqueError("home.broken", file=str(error.filename or ""), why=error.strerror or type(error).__name__)
    if "django.db" in sys.modules:
        from django.db import DatabaseError, InterfaceError

        if isinstance(error, (DatabaseError, InterfaceError)):
            why = (str(error).splitlines() or [type(error).__name__])[0]
            return FabriqueError("home.broken", file="database", why=why[:200])
    return None


def _say(error: FabriqueError) -> None:
    say = speaker(current.call, current.here)
    plain = FabriqueError(error.code, **{k: v for k, v in error.params.items() if k not in _LISTS})
    sentence = say.error(plain)
    output.complain(f"fabrique: {sentence} [{error.code}]")
    details = list(_details(say, error.params))
    for text in details:
        output.complain(f"  {text}")
    if current.call.json:
        output.document({"error": _as_json(error, sentence, details)})


def _details(say: Speaker, params: Mapping[str, Any]) -> Iterator[str]:
    """Every complaint at its place, every field that is wrong, the reason."""
    from fabrique.core.fields import FieldError
    from fabrique.core.reasons import from_json
    from fabrique.definitions import complaints

    for item in params.get("complaints") or ():
        if isinstance(item, str):  # the grid's files: a place, a field and a code already
            yield item
            continue
        known = item if isinstance(item, complaints.Complaint) else _complaint(item)
        yield complaints.say(known, say.language)
    for item in params.get("errors") or ():
        inside = {k: v for k, v in item.items() if k not in ("field", "code")}
        yield f"{item['field']}: {say.field_error(FieldError(item['field'], item['code'], inside))}"
    if params.get("reason"):
        yield say.reason(from_json(params["reason"]))
    if params.get("known"):
        yield ", ".join(str(k) for k in params["known"])


def _complaint(item: Mapping[str, Any]) -> Any:
    from fabrique.definitions.complaints import Complaint

    return Complaint(item["file"], item["line"], item["field"], item["code"], item["params"])


def _as_json(error: FabriqueError, sentence: str, details: list[str]) -> dict[str, object]:
    from fabrique.definitions.complaints import Complaint

    params: dict[str, Any] = dict(error.params)
    params = {
        k: [c.as_json() if isinstance(c, Complaint) else c for c in v] if k == "complaints" else v
        for k, v in params.items()
    }
    return {"code": error.code, "params": params, "sentence": sentence, "details": details}


def _let_go() -> int:
    """Nothing more is written: what is still buffered goes nowhere, so that the end of the process stays silent."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return NOBODY_READS
