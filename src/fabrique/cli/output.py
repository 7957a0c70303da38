"""What a command writes: one JSON document, or tables and sentences; colours on a terminal only (NO_COLOR respected).

Texts from people and jobs may be hostile: what could move a terminal's cursor never reaches it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fabrique.core.errors import FabriqueError
from fabrique.core.fields import HIDING

if TYPE_CHECKING:
    from rich.console import Console

EXACT: Final = 2**53  # above it, a reader of JSON may round
PIPE_WIDTH: Final = 160  # columns of a table that goes to a file or another program
# Control characters but the line feed, and what changes the direction of writing
_UNSAFE: Final = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f{HIDING}]")

# Rich breaks lines at no-break spaces too: they travel through it as characters that nobody else uses
_KEPT: Final = {0xA0: 0xE000, 0x202F: 0xE001}
_BACK: Final = {there: here for here, there in _KEPT.items()}


def document(data: Mapping[str, object]) -> None:
    """`data` as JSON on standard output; integers that a reader might round are strings."""
    sys.stdout.write(json.dumps(_exact(data), ensure_ascii=False, indent=2, default=str) + "\n")
    sys.stdout.flush()


def event(data: Mapping[str, object]) -> None:
    """One of several documents: a line of its own."""
    sys.stdout.write(json.dumps(_exact(data), ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def _exact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _exact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(v) for v in value]
    return str(value) if type(value) is int and abs(value) > EXACT else value


def raw(text: str) -> None:
    """A document of ours, as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def raw_bytes(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A file that was not there. Raises `file.exists`; what is there stays."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise FabriqueError("file.exists", file=str(path)) from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def safe(text: object) -> str:
    return _UNSAFE.sub("\ufffd", str(text))


def on_terminal() -> bool:
    return sys.stdout.isatty()


def width() -> int:
    """Columns of the terminal; elsewhere those of a table in a file."""
    return int(_console(sys.stdout.isatty()).width)


def cells(text: str) -> int:
    """Columns that a text takes on a terminal: some letters take two."""
    from rich.cells import cell_len

    return int(cell_len(_one_line(text)))


def fitted(text: str, columns: int, *, right: bool = False) -> str:
    """The text in exactly so many columns: what is too long ends in an ellipsis."""
    from rich.cells import set_cell_size

    known = _one_line(text)
    if cells(known) > columns:
        return str(set_cell_size(set_cell_size(known, columns - 1).rstrip() + "…", columns))
    blank = " " * (columns - cells(known))
    return blank + known if right else known + blank


def _one_line(text: str) -> str:
    return safe(text).replace("\n", " ")


@contextmanager
def redrawn() -> Iterator[Callable[[Iterable[tuple[str, str]]], None]]:
    """Lines on a terminal that are written over by the next ones, without a flicker; the last ones stay."""
    from rich.console import Group
    from rich.live import Live

    console = _console(True)  # its stream is `_Now`: Rich's own redirection would go round it
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield lambda lines: live.update(Group(*[_text(text, style) for text, style in lines]), refresh=True)


def line(text: str = "", style: str = "") -> None:
    """One sentence: wrapped on a terminal, one line anywhere else."""
    _console(sys.stdout.isatty()).print(_text(text, style), soft_wrap=not sys.stdout.isatty())


def hint(text: str, command: str) -> None:
    """The next useful command, unbroken, so that it can be copied."""
    _console(sys.stdout.isatty()).print(_text(f"{text} {command}", "dim"), soft_wrap=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Collection[int] = ()) -> None:
    """`rows` under `head`; the columns in `numbers` stand to the right."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, title in enumerate(head):
        shown.add_column(_text(title), justify="right" if index in numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*[_text(cell) for cell in row])
    _print(shown)


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, one below the other."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in rows:
        shown.add_row(_text(name), _text(value))
    _print(shown)


def working(text: str) -> AbstractContextManager[object]:
    """Says that something goes on: a spinner on a terminal, a line elsewhere."""
    console = _console(sys.stdout.isatty())
    if sys.stdout.isatty():
        return console.status(_text(f"{text} …"))
    line(f"{text} …")
    return nullcontext()


def complain(text: str) -> None:
    sys.stderr.write(f"{safe(text)}\n")
    sys.stderr.flush()


def _print(shown: object) -> None:
    """As it is on a terminal; without the blanks at the ends of lines anywhere else."""
    console = _console(sys.stdout.isatty())
    if sys.stdout.isatty():
        return console.print(shown)
    with console.capture() as captured:
        console.print(shown)
    return raw("".join(f"{text.rstrip(' ')}\n" for text in captured.get().translate(_BACK).splitlines()))


def _text(text: object, style: str = "") -> Any:
    from rich.text import Text

    return Text(safe(text).translate(_KEPT), style=style)


class _Now:
    """The standard output of this moment: a test or a shell may change it under a console."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text.translate(_BACK))

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


@cache
def _console(terminal: bool) -> Console:
    from rich.console import Console

    width = None if terminal else PIPE_WIDTH
    return Console(file=_Now(), width=width, markup=False, highlight=False, emoji=False)  # type: ignore[arg-type]
