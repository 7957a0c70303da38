"""YAML 1.2 from a stranger, as plain data with the place of every value.

Only what a definition needs: mappings with text keys, sequences, and plain scalars of the core schema, so that
`NO` and `22:00` stay text. Tags, anchors, aliases, directives, duplicate keys, several documents, control
characters, deep nesting and large files are complaints. Nothing is constructed: the events of the parser are
folded into `dict`, `list`, `str`, `int`, `float`, `bool` and `None`, and nothing else.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from fabrique.definitions.complaints import Complaint, by_place

Place = tuple[int, int]
FieldPath = tuple[str | int, ...]

MOST_BYTES: Final = 1_048_576
MOST_VALUES: Final = 20_000  # keys count too
MOST_LEVELS: Final = 40
MOST_COMPLAINTS: Final = 200
MOST_IN_LINE: Final = 10_000  # the parser is quadratic in some long lines
_MOST_DIGITS: Final = 40

_NONE: Final[Mapping[str, str | int]] = MappingProxyType({})
_CONTROL = re.compile("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_INT = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_ENDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_WORDS: Final[Mapping[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """Plain `data` of `file`, with the place of each value: the key's in a mapping, its own in a sequence."""

    file: str
    data: Any
    places: Mapping[FieldPath, Place]

    def line(self, path: FieldPath) -> int:
        """The line of `path`, or of its nearest ancestor that the file has; 1 is the first."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]][0]
        return 1

    def complaint(self, path: FieldPath, code: str, /, **params: str | int) -> Complaint:
        return Complaint(self.file, self.line(path), dotted(path), code, params)


def dotted(path: FieldPath) -> str:
    """`sites[0].name`, as people write it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read(path: Path | str) -> tuple[Document | None, list[Complaint]]:
    """The document in the file at `path`; its size and kind are checked before a byte is read."""
    name = str(path)
    raw, code, params = read_bytes(Path(path), MOST_BYTES)
    if raw is None:
        return None, [Complaint(name, 0, "", code, params)]
    return parse(raw, name)


def read_bytes(path: Path, most: int) -> tuple[bytes | None, str, dict[str, str | int]]:
    """Bytes of a regular file of at most `most` bytes, else `(None, code, params)` of the complaint."""
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to must not wait for ever
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None, "file.missing", {}
    except (OSError, ValueError) as error:
        return None, "file.unreadable", {"why": getattr(error, "strerror", None) or type(error).__name__}
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            return None, "file.not-regular", {}
        if about.st_size > most:
            return None, "file.too-large", {"size": about.st_size, "most": most}
        with os.fdopen(os.dup(handle), "rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        return None, "file.unreadable", {"why": error.strerror or "OSError"}
    finally:
        os.close(handle)
    if len(raw) > most:  # it grew meanwhile
        return None, "file.too-large", {"size": len(raw), "most": most}
    return raw, "", {}


def parse(raw: bytes, file: str) -> tuple[Document | None, list[Complaint]]:
    """The document in `raw`, cited as `file`. Never raises, whatever the bytes."""
    if len(raw) > MOST_BYTES:
        return None, [Complaint(file, 0, "", "file.too-large", {"size": len(raw), "most": MOST_BYTES})]
    text, complaints = decode(raw, file)
    if text is None:
        return None, complaints
    builder = _Builder(file)
    try:
        builder.build(YAML(typ="safe", pure=True).parse(text))
    except _StopReadingError:
        pass
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        builder.note(
            mark.line + 1 if mark else 1, "yaml.syntax", params={"problem": error.problem or error.context or "?"}
        )
    except (YAMLError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
        # the parser's own slips on noise (it indexes and asserts on input) are the file's fault, not ours
        builder.note(builder.last_line, "yaml.syntax", params={"problem": type(error).__name__})
    if builder.complaints:
        return None, by_place(builder.complaints)
    return Document(file, builder.root, MappingProxyType(builder.places)), []


def decode(raw: bytes, file: str) -> tuple[str | None, list[Complaint]]:
    """UTF-8 text without long lines or control characters (a leading byte-order mark is dropped)."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return None, [Complaint(file, line, "", "file.not-utf8", {"byte": error.start + 1})]
    for number, row in enumerate(text.split("\n"), start=1):
        if len(row) > MOST_IN_LINE:
            return None, [Complaint(file, number, "", "file.long-line", {"most": MOST_IN_LINE})]
    complaints: list[Complaint] = []
    for found in _CONTROL.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        code = f"U+{ord(found[0]):04X}"
        complaints.append(Complaint(file, line, "", "file.control-character", {"character": code}))
        if len(complaints) == 10:
            break
    return (None, by_place(complaints)) if complaints else (text, [])


class _StopReadingError(Exception):
    """The rest of the file isn't worth reading: its complaint is already noted."""


@dataclass(slots=True)
class _Frame:
    """One open mapping or sequence; `key` is the mapping key that waits for its value."""

    value: Any
    path: FieldPath
    key: str | None = None
    seen: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Folds parser events into plain data, and notes where each value stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Any = None
        self.places: dict[FieldPath, Place] = {}
        self.complaints: list[Complaint] = []
        self.last_line = 1
        self._stack: list[_Frame] = []
        self._count = 0
        self._documents = 0

    def note(self, line: int, code: str, path: FieldPath = (), params: Mapping[str, str | int] = _NONE) -> None:
        self.complaints.append(Complaint(self.file, line, dotted(path), code, params))

    def complain(self, line: int, code: str, path: FieldPath = (), params: Mapping[str, str | int] = _NONE) -> None:
        self.note(line, code, path, params)
        if len(self.complaints) >= MOST_COMPLAINTS:
            raise _StopReadingError

    def build(self, events: Iterator[Any]) -> None:
        for event in events:
            self.last_line = event.start_mark.line + 1
            self._take(event)
        if not self._documents or self.root is None:
            self.complain(1, "yaml.empty")

    def _take(self, event: Any) -> None:
        if isinstance(event, ev.DocumentStartEvent):
            self._documents += 1
            if event.version or event.tags:
                self._stop("yaml.directive")
            if self._documents > 1:
                self._stop("yaml.several-documents")
        elif isinstance(event, ev.AliasEvent):
            self._stop("yaml.anchor", name=f"*{event.anchor}")
        elif isinstance(event, (ev.ScalarEvent, ev.CollectionStartEvent)):
            self._node(event)
        elif isinstance(event, ev.CollectionEndEvent):
            self._stack.pop()

    def _node(self, event: Any) -> None:
        self._count += 1
        if self._count > MOST_VALUES:
            self._stop("yaml.too-many", most=MOST_VALUES)
        if event.anchor is not None:
            self._stop("yaml.anchor", name=f"&{event.anchor}")
        if event.tag is not None:
            self._stop("yaml.tag", tag=str(event.tag))
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(top, event)
            return
        path = self._path(top, event)
        if isinstance(event, ev.ScalarEvent):
            self._put(top, self._scalar(event, path))
            return
        value: Any = {} if isinstance(event, ev.MappingStartEvent) else []
        self._put(top, value)
        self._stack.append(_Frame(value, path))
        if len(self._stack) > MOST_LEVELS:
            self._stop("yaml.too-deep", most=MOST_LEVELS)

    def _key(self, top: _Frame, event: Any) -> None:
        if not isinstance(event, ev.ScalarEvent) or not event.value:
            self._stop("yaml.key-not-text")
        key = str(event.value)
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if key in top.seen:
            self.complain(line, "yaml.duplicate-key", (*top.path, key), {"key": key, "first": top.seen[key]})
        else:
            top.seen[key] = line
            self.places[(*top.path, key)] = (line, column)
        top.key = key

    def _path(self, top: _Frame | None, event: Any) -> FieldPath:
        if top is not None and top.key is not None:
            return (*top.path, top.key)
        path: FieldPath = () if top is None else (*top.path, len(top.value))
        self.places[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        return path

    def _put(self, top: _Frame | None, value: Any) -> None:
        if top is None:
            self.root = value
        elif isinstance(top.value, dict):
            top.value[top.key] = value
            top.key = None
        else:
            top.value.append(value)

    def _scalar(self, event: Any, path: FieldPath) -> str | int | float | bool | None:
        text = str(event.value)
        hidden = _CONTROL.search(text)
        if hidden:  # written with an escape, as "\\u001b"
            params = {"character": f"U+{ord(hidden[0]):04X}"}
            self.complain(self.last_line, "file.control-character", path, params)
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _ENDLESS.match(text) or ((_BASED.match(text) or _FLOAT.match(text)) and len(text) > _MOST_DIGITS):
            return self._out_of_range(path)
        if _INT.match(text):
            return int(text)
        if _BASED.match(text):
            return int(text, 0)
        if not _FLOAT.match(text):
            return text
        number = float(text)
        return number if math.isfinite(number) else self._out_of_range(path)

    def _out_of_range(self, path: FieldPath) -> int:
        self.complain(self.last_line, "yaml.number", path)
        return 0

    def _stop(self, code: str, **params: str | int) -> None:
        self.complain(self.last_line, code, params=params)
        raise _StopReadingError
