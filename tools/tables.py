"""Tables for people: aligned columns, no wider than the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

_GAP = 2
_ENOUGH = 20  # characters of a text that still say what it is
_LEAST = 4
_CUT = "…"


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Sequence[str] = (),
    shorten: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> str:
    """Rows under headings in aligned columns; the columns named in `right` are flush right.

    At a terminal that is too narrow, long texts in the columns `shorten` lose their middle; where that is
    not enough, columns of `spare` are left out, the first one first, and a line below says so.
    """
    columns = [_Column(name, [name], name in shorten, name in right) for name in headings]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.cells.append("-" if value is None else str(value).replace("\n", " "))
    limit = terminal_width()
    return _text(columns) if limit is None else _text(*_fitted(columns, spare, limit))


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none, for a file or program wants it all."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def shortened(text: str, width: int) -> str:
    """`text` without as much of its middle as it takes: `/features/…/conv1`."""
    if len(text) <= width:
        return text
    cut = _CUT if _can_print(_CUT) else "~"
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + cut + text[len(text) - tail :]


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class _Column:
    """A heading and the cells below it; `short`: these may be shortened."""

    name: str
    cells: list[str]
    short: bool
    right: bool

    @property
    def width(self) -> int:
        return max(map(len, self.cells))

    def within(self, width: int) -> _Column:
        return replace(self, cells=[shortened(cell, width) for cell in self.cells]) if self.short else self


def _text(columns: Sequence[_Column], left_out: Sequence[str] = ()) -> str:
    padded = [
        [cell.rjust(column.width) if column.right else cell.ljust(column.width) for cell in column.cells]
        for column in columns
    ]
    lines = [(" " * _GAP).join(row).rstrip() for row in zip(*padded, strict=True)]
    lines.insert(1, (" " * _GAP).join("-" * column.width for column in columns))
    if left_out:
        lines.append(f"(not shown, for want of width: {', '.join(left_out)})")
    return "\n".join(lines)


def _fitted(columns: Sequence[_Column], spare: Sequence[str], limit: int) -> tuple[list[_Column], list[str]]:
    """The columns within `limit`, and the names of those left out for it."""
    kept, left_out = list(columns), list[str]()
    for name in spare:
        if _total(kept, _ENOUGH) <= limit:
            break
        if any(column.name == name for column in kept):
            kept = [column for column in kept if column.name != name]
            left_out.append(name)
    longest = max((column.width for column in kept if column.short), default=0)
    width = next((w for w in range(longest, _LEAST, -1) if _total(kept, w) <= limit), _LEAST)
    return [column.within(width) for column in kept], left_out


def _total(columns: Sequence[_Column], longest: int) -> int:
    """The table's width where no text that may be shortened is longer than that."""
    widths = [min(column.width, longest) if column.short else column.width for column in columns]
    return sum(widths) + _GAP * (len(widths) - 1)
