"""Reports as files, each in the format that its suffix tells, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole

R = TypeVar("R")
Formats = Mapping[str, Callable[[R], str]]
"""Suffix, with its dot, to what makes a report the text of such a file."""


def check_paths(paths: Iterable[Path], formats: Iterable[str]) -> None:
    """SecateurError for a report that could not be written in the end: known before the work is done."""
    seen: set[Path] = set()
    known = tuple(formats)
    for path in paths:
        if path.suffix.lower() not in known:
            raise SecateurError(f"--report {path}: the suffix tells the format: {', '.join(known)}")
        if path.is_dir():
            raise SecateurError(f"--report {path}: is a folder")
        if not path.parent.is_dir():
            raise SecateurError(f"--report {path}: there is no folder {path.parent}")
        if path.resolve() in seen:
            raise SecateurError(f"--report {path} is given twice")
        seen.add(path.resolve())


def write_reports(report: R, paths: Sequence[Path], formats: Formats[R]) -> None:
    """Writes the report in the format that each suffix tells; SecateurError as `check_paths`."""
    check_paths(paths, formats)
    texts = [formats[path.suffix.lower()](report) for path in paths]
    for path, text in zip(paths, texts, strict=True):
        write_whole(path, text.encode())


def json_text(data: Mapping[str, Any]) -> str:
    """The text of a JSON file."""
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
