"""JSON files that people may have edited: read strictly, with errors that say where."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import SecateurError


def read_json(path: Path, kind: type[SecateurError] = SecateurError) -> Any:
    """What the file holds; an error of that `kind` names the file and says what is wrong."""
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise kind(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise kind(f"{path}: is not text") from None
    except json.JSONDecodeError as error:
        raise kind(f"{path}: is not JSON: line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise kind(f"{path}: is nested too deeply") from None
    except _TwiceError as error:
        raise kind(f"{path}: '{error}' is given twice") from None


class _TwiceError(Exception):
    """A key that an object has already."""


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_distinct, parse_int=_number)


def _number(text: str) -> int | float:
    """Python refuses to read integers of thousands of digits; as a float they are out of range."""
    return int(text) if len(text) < 20 else float(text)


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found
