"""The catalogues: `locale/<language>/LC_MESSAGES/*.po`, compiled into one `django.mo` that Django reads too.

Québec's French is France's with its own words on top: its compiled catalogue is complete by itself. A compiled file
that is missing or older than its sources is made again when it is asked for, so that nothing falls back to English
for want of a command.
"""

from __future__ import annotations

import atexit
import gettext
import os
import re
import shutil
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog, Message

LOCALE: Final = Path(__file__).parent / "locale"
DOMAIN: Final = "django"
FOLDERS: Final = {"fr": "fr", "fr-ca": "fr_CA", "en": "en"}


def language_code(text: str) -> str:
    """One of fr, fr-ca, en for any writing of a language; English for one that is not ours."""
    code = text.lower().replace("_", "-")
    if code in FOLDERS:
        return code
    return "fr" if code.split("-")[0] == "fr" else "en"


def sources(language: str, root: Path = LOCALE) -> list[Path]:
    """The .po files of `language`, the later ones over the earlier ones."""
    folders = ["fr", "fr_CA"] if language == "fr-ca" else [FOLDERS[language]]
    return [po for folder in folders for po in sorted((root / folder / "LC_MESSAGES").glob("*.po"))]


def merged(language: str, root: Path = LOCALE) -> Catalog:
    """Every message of `language`. Raises `babel.messages.pofile.PoFileError` on a broken file."""
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import read_po

    whole = Catalog(locale=FOLDERS[language], domain=DOMAIN, charset="utf-8")
    for path in sources(language, root):
        with path.open("rb") as file:
            for message in read_po(file, locale=FOLDERS[language], abort_invalid=True):
                if message.id:
                    whole.delete(message.id)  # a second one would only add its places to the first
                    whole[message.id] = typeset(message) if language.startswith("fr") else message
    return whole


def typeset(message: Message) -> Message:
    """A French message with the no-break spaces and apostrophes that its translator need not type."""
    string = message.string
    message.string = tuple(map(typographic, string)) if isinstance(string, (tuple, list)) else typographic(string or "")
    return message


def typographic(text: str) -> str:
    """No-break spaces before : and inside « », narrow ones before ; ! ?, and curved apostrophes."""
    text = re.sub(r"(?<=[\w})»…])[ \u00a0\u202f]?(?=:(?:\s|$))", "\u00a0", text)
    text = re.sub(r"(?<=[\w})»…])[ \u00a0\u202f]?(?=[;!?](?:\s|$))", "\u202f", text)
    text = re.sub(r"«[ \u202f]", "«\u00a0", re.sub(r"[ \u202f]»", "\u00a0»", text))
    return re.sub(r"(?<=\w)'(?=\w)", "’", text)


def compiled(language: str, root: Path = LOCALE) -> bytes:
    """The catalogue as gettext's binary file."""
    from babel.messages.mofile import write_mo

    out = BytesIO()
    write_mo(out, merged(language, root))
    return out.getvalue()


def binary(language: str, root: Path = LOCALE) -> Path:
    return root / FOLDERS[language] / "LC_MESSAGES" / f"{DOMAIN}.mo"


def is_fresh(language: str, root: Path = LOCALE) -> bool:
    """Whether the compiled file is there and no older than any of its sources."""
    try:
        made = binary(language, root).stat().st_mtime_ns
    except OSError:
        return False
    return all(po.stat().st_mtime_ns <= made for po in sources(language, root))


def write(language: str, root: Path = LOCALE, into: Path | None = None) -> Path:
    """Compile `language` beside its source (or below `into`), whole or not at all. Raises OSError."""
    path = binary(language, into or root)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(compiled(language, root))
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return path


@cache
def locale_path(root: Path = LOCALE) -> Path:
    """A folder where every catalogue is compiled and fresh: `root`, or a private copy if that can't be written."""
    stale = [language for language in FOLDERS if not is_fresh(language, root)]
    try:
        for language in stale:
            write(language, root)
    except OSError:
        return _private_copy(root)
    return root


def _private_copy(root: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fabrique-locale-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for language in FOLDERS:
        write(language, root, into=folder)
    return folder


@cache
def translations(language: str, root: Path = LOCALE) -> gettext.NullTranslations:
    """The translations of fr, fr-ca or en; from memory when the compiled file is missing or old."""
    if is_fresh(language, root):
        with binary(language, root).open("rb") as file:
            return gettext.GNUTranslations(file)
    return gettext.GNUTranslations(BytesIO(compiled(language, root)))
