"""The catalogues of texts: compile them, find what is missing.

    python tools/catalogue.py compile   every .po into the .mo that runs
    python tools/catalogue.py extract   add texts that are new to locale/fr/LC_MESSAGES/django.po, untranslated
    python tools/catalogue.py check     exit 1 when a text is untranslated, missing, doubtful or no longer used

Texts are collected from templates ({% translate %}, {% blocktranslate %}) and from Python (`_`, `gettext`,
`gettext_lazy`, `ngettext`, `msg`, and a Speaker's `text` and `plural`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from babel.messages.catalog import Message  # noqa: E402
from babel.messages.extract import extract  # noqa: E402
from babel.messages.pofile import read_po, write_po  # noqa: E402

from fabrique.language import catalogue  # noqa: E402

SOURCES: Final = ROOT / "src" / "fabrique"
KEYWORDS: Final[dict[str, Any]] = {  # Babel's own notation
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "msg": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
}
SPEAKERS: Final[dict[str, Any]] = {"text": None, "plural": (1, 2)}  # where a Speaker is at hand
Key = str | tuple[str, ...]
_FIELD: Final = re.compile(r"%\((\w+)\)s|\{(\w+)\}")


def collected() -> dict[Key, list[tuple[str, int]]]:
    """Every text that the program may say -> where."""
    found: dict[Key, list[tuple[str, int]]] = {}
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix not in (".py", ".html", ".txt") or "migrations" in path.parts:
            continue
        for line, text in _texts(path):
            found.setdefault(text, []).append((path.relative_to(ROOT).as_posix(), line))
    return found


def _texts(path: Path) -> Iterator[tuple[int, Key]]:
    source = path.read_bytes()
    if path.suffix != ".py":
        from django.utils.translation.template import templatize

        # one call a line, without the indentation that only HTML understands
        lines = templatize(source.decode(), origin=str(path)).split("\n")
        source = "\n".join(line.lstrip() for line in lines).encode()
    keywords = KEYWORDS | SPEAKERS if b"peaker" in source else KEYWORDS
    for line, message, _comments, _context in extract("python", BytesIO(source), keywords):
        texts = tuple(m for m in message if m) if isinstance(message, tuple) else message
        if texts and (isinstance(texts, str) or len(texts) == 2):
            yield line, texts


def compile_all() -> int:
    for language in catalogue.FOLDERS:
        path = catalogue.write(language)
        print(f"{path.relative_to(ROOT)}: {len(catalogue.merged(language))} texts")
    return 0


def extract_new() -> int:
    """Adds what `fr` lacks; keeps every translation and its file."""
    path = catalogue.LOCALE / "fr" / "LC_MESSAGES" / "django.po"
    with path.open("rb") as file:
        own = read_po(file, locale="fr")
    known = catalogue.merged("fr")
    new = [text for text in collected() if text not in known]
    for text in new:
        own.add(text)
    with path.open("wb") as file:
        write_po(file, own, width=120, no_location=True, omit_header=False, sort_output=False)
    print(f"{len(new)} new texts in {path.relative_to(ROOT)}")
    return 0


def complaints() -> list[str]:
    """Everything wrong with the catalogues, each with its place."""
    texts = collected()
    french, quebec = catalogue.merged("fr"), catalogue.merged("fr-ca")
    found = [f"{file}:{line}: not in fr: {text!r}" for text, ((file, line), *_) in texts.items() if text not in french]
    for language, whole in (("fr", french), ("fr-ca", quebec)):
        found += [f"{language}: {wrong}: {message.id!r}" for message in whole if (wrong := _wrong(message))]
    used = set(texts)
    found += [f"{language}: no longer used: {m.id!r}" for language, m in _own_messages() if m.id not in used]
    return found


def _own_messages() -> Iterator[tuple[str, Message]]:
    for language in catalogue.FOLDERS:
        for path in catalogue.sources(language):
            with path.open("rb") as file:
                yield from ((f"{language} {path.name}", m) for m in read_po(file) if m.id)


def _wrong(message: Message) -> str | None:
    if not message.id:
        return None
    strings = message.string if isinstance(message.string, (tuple, list)) else (message.string,)
    if message.fuzzy:
        return "doubtful (fuzzy)"
    if not all(strings):
        return "not translated"
    ids = message.id if isinstance(message.id, (tuple, list)) else (message.id,)
    wanted = {"".join(f) for text in ids for f in _FIELD.findall(text)}
    given = {"".join(f) for text in strings for f in _FIELD.findall(text or "")}
    return f"parameters {sorted(given)} instead of {sorted(wanted)}" if wanted != given else None


def check() -> int:
    found = complaints()
    for line in found:
        print(line)
    print(f"{len(collected())} texts, {len(found)} complaints")
    return 1 if found else 0


ACTS: Final = {"compile": compile_all, "extract": extract_new, "check": check}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ACTS:
        sys.exit(__doc__)
    sys.exit(ACTS[sys.argv[1]]())
