"""The bytes of a trace, bounded before and after decompression, with their digest; nothing in them is trusted."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.definitions.complaints import printable
from fabrique.definitions.yaml import read_bytes

MOST_BYTES: Final = 512 << 20  # of a file as it lies
MOST_TEXT: Final = 256 << 20  # of a text once decompressed: about three million jobs
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Raw:
    """A file's name (for messages), the SHA-256 of its bytes as they lie, and its content, decompressed."""

    name: str
    digest: str
    content: bytes

    def text(self) -> str:
        """The content as UTF-8 without NUL. Raises `trace.encoding` with the line."""
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._encoding(error.start) from None
        if "\0" in text:
            raise self._encoding(self.content.index(b"\0"))
        return text

    def _encoding(self, at: int) -> FabriqueError:
        return FabriqueError("trace.encoding", **self._place(self.content.count(b"\n", 0, at) + 1))

    def _place(self, line: int) -> dict[str, object]:
        return {"file": self.name, "line": line, "place": f"{self.name}:{line}"}

    def ragged(self, line: int, found: int, wanted: int) -> FabriqueError:
        """`trace.line`: so many fields stand on `line` where so many should."""
        return FabriqueError("trace.line", **self._place(line), found=found, wanted=wanted)

    def broken(self, line: int, field: str, value: object) -> FabriqueError:
        """`trace.value`: what stands in `field` of `line` can't be read."""
        field, text = printable(field, 80), printable(str(value)[:200], 60)
        return FabriqueError("trace.value", **self._place(line), field=field, value=text)


def load(path: Path) -> Raw:
    """The file at `path`. Raises `trace.missing`, `trace.unreadable`, `trace.too-large`, `trace.compressed`."""
    name = printable(path.name, 200)
    raw, code, _ = read_bytes(path, MOST_BYTES)
    if raw is None:
        if code == "file.missing":
            raise FabriqueError("trace.missing", file=name)
        if code == "file.too-large":
            raise FabriqueError("trace.too-large", file=name, most=MOST_BYTES)
        raise FabriqueError("trace.unreadable", file=name)
    content = _decompressed(raw, name) if raw.startswith(_GZIP) else raw
    if not content.startswith(b"PAR1") and len(content) > MOST_TEXT:
        raise FabriqueError("trace.too-large", file=name, most=MOST_TEXT)
    return Raw(name, hashlib.sha256(raw).hexdigest(), content)


def _decompressed(raw: bytes, name: str) -> bytes:
    """At most one byte more than is allowed, so that a bomb costs no more than a trace."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            return file.read(MOST_TEXT + 1)
    except (OSError, EOFError, zlib.error):
        raise FabriqueError("trace.compressed", file=name) from None
