"""What `profile` says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report import size

if TYPE_CHECKING:
    from secateur.costs.bundle import Bundle
    from secateur.costs.table import Table

    from ..checks.table import Check


def table_data(table: Table, path: Path, found: Check | None) -> dict[str, Any]:
    """For JSON: what the table is of, and the check where there was one."""
    from ..checks.table_report import json_data

    return {
        "table": str(path),
        "target": table.target,
        "measured": table.measured,
        "kernels": len(table.entries),
        "check": None if found is None else json_data(found),
    }


def table_text(table: Table, asked: int, path: Path, found: Check | None) -> str:
    """A line for people, below the check where there was one."""
    from ..checks.table_report import text_of

    count, repeats = len(table.entries), max((e.timing.repeats for e in table.entries), default=0)
    how = f"median of {repeats} rounds, one thread" if repeats else "estimates"
    missing = f"; {asked - count} are not in it, and will be estimated" if asked > count else ""
    line = f"{path}: {count} kernels for {table.target}, {how} ({table.measured}){missing}"
    return line if found is None else f"{text_of(found)}\n{line}"


def bundle_data(made: Bundle, path: Path) -> dict[str, Any]:
    """For JSON."""
    return {"bundle": str(path), "bytes": path.stat().st_size, **asdict(made)}


def bundle_text(made: Bundle, path: Path) -> str:
    """A line for people, and what to do now."""
    left = f"; {made.left_out} need too much memory and are left out" if made.left_out else ""
    return (
        f"{path}: {size(path.stat().st_size)}, {made.kernels} kernels in {made.parts} programs that need "
        f"{size(made.memory)} of memory{left}\n"
        f"On the board: tar xf {path.name} && ./run.sh > results.json; then here: --results results.json"
    )
