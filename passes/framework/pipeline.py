"""Pipelines as text: `canonicalize,fuse{level=conservative},select{memory=4MiB}`.

Options are the fields of the pass. A field of type int reads and, with
`metadata={"unit": "bytes"}`, prints sizes such as 4MiB; strings are bare words
or quoted, names one a line; options that have their default are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from secateur.ir.errors import SecateurError
from secateur.ir.support.options import options_of
from secateur.ir.support.units import read_time
from secateur.ir.support.words import known_names

from ..registry import BY_NAME, declaration
from ..stages import check_stages

if TYPE_CHECKING:
    from .base import Pass

Made = TypeVar("Made")

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.+/-]*")
_ITEM = re.compile(
    r"""\s*(?P<name>[A-Za-z_][\w-]*)\s*(?:\{(?P<options>(?:"(?:[^"\\]|\\.)*"|[^"{}])*)\})?\s*(?:,|$)"""
)
_OPTION = re.compile(
    r"""\s*(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>"(?:[^"\\]|\\.)*"|[^",\s][^",]*?)\s*(?:,|$)"""
)
_INT = re.compile(r"(-?\d{1,18})\s*(KiB|MiB|GiB|)")


class PipelineError(SecateurError):
    """Text that is no pipeline."""


def _option_fields(cls: type) -> list[Field[Any]]:
    """The fields that text may set; a cost table handed in by the compiler is none of them."""
    return [f for f in fields(cls) if f.metadata.get("option", True)]


# Values --------------------------------------------------------------------------------------------


def _read_str(text: str) -> str:
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except json.JSONDecodeError:
        raise ValueError(text) from None


def _read_names(text: str) -> tuple[str, ...]:
    """Names, one a line."""
    return tuple(filter(None, _read_str(text).split("\n")))


def _read_int(text: str) -> int:
    found = _INT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2]]


def _read_time(text: str) -> float:
    """Seconds, or a share."""
    return _read_share(text) if text.endswith("%") else float(text)


def _read_room(text: str) -> float:
    """Bytes, or a share."""
    return _read_share(text) if text.endswith("%") else _read_int(text)


def _read_share(text: str) -> float:
    share = read_time(text)
    if share is None:
        raise ValueError(text)
    return share


def _read_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_READERS: dict[type, tuple[Any, str]] = {
    str: (_read_str, "a word or quoted text"),
    tuple: (_read_names, "a name, or several with \\n between them, quoted"),
    int: (_read_int, "an integer or a size such as 4MiB"),
    float: (float, "a number"),
    bool: (_read_bool, "true or false"),
}
_BY_UNIT: dict[str | None, tuple[Any, str]] = {
    "time": (_read_time, "a number of seconds or a share"),
    "room": (_read_room, "a size such as 4MiB or a share"),
}


def _format_value(field: Field[Any], value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and field.metadata.get("unit") == "bytes":
        unit = next(u for u in ("GiB", "MiB", "KiB", "") if value % UNITS[u] == 0)
        return f"{value // UNITS[unit]}{unit}" if value else "0"
    if isinstance(value, tuple):
        return _format_value(field, "\n".join(value))
    if isinstance(value, str) and not _BARE.fullmatch(value):
        return json.dumps(value)
    return str(value)


# Passes and pipelines ------------------------------------------------------------------------------


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def format_pass(step: Pass) -> str:
    """The pass as text; options that have their default are left out."""
    changed = [
        (f, getattr(step, f.name)) for f in _option_fields(type(step)) if getattr(step, f.name) != _default(f)
    ]
    options = ",".join(f"{f.name}={_format_value(f, value)}" for f, value in changed)
    return f"{step.name}{{{options}}}" if options else step.name


def format_pipeline(passes: Iterable[Pass]) -> str:
    """The text that `parse_pipeline` reads back to equal passes."""
    return ",".join(map(format_pass, passes))


def _pieces(pattern: re.Pattern[str], text: str, what: str) -> list[re.Match[str]]:
    found, at = [], 0
    while at < len(text):
        piece = pattern.match(text, at)
        if piece is None:
            raise PipelineError(f"{what}: cannot read '{text[at : at + 60]}'")
        found.append(piece)
        at = piece.end()
    if text.rstrip().endswith(","):
        raise PipelineError(f"{what}: nothing follows the last comma")
    return found


def _option(step: str, cls: type, name: str, text: str) -> Any:
    known = [f.name for f in _option_fields(cls)]
    if name not in known:
        raise PipelineError(f"pass {step} has no option '{name}'{known_names(name, known)}")
    option = options_of(cls)[name]
    unit = option.help.unit if option.help else None
    read, wanted = _BY_UNIT[unit] if unit in _BY_UNIT else _READERS[option.kind]
    try:
        return read(text)
    except ValueError:
        raise PipelineError(f"pass {step}: option {name}={text} is not {wanted}") from None


def _options(step: str, cls: type, text: str) -> dict[str, Any]:
    """The values of the options that `text` gives to the pass `step`, whose options `cls` declares."""
    options: dict[str, Any] = {}
    for piece in _pieces(_OPTION, text, f"options of pass {step}"):
        if piece["name"] in options:
            raise PipelineError(f"pass {step}: option {piece['name']} is given twice")
        options[piece["name"]] = _option(step, cls, piece["name"], piece["value"])
    return options


def _check_name(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise PipelineError(f"unknown pass '{name}'{known_names(name, sorted(known))}")


def _made(piece: re.Match[str], cls: type[Made]) -> Made:
    """An object of a pass or of what declares its options, which both check them."""
    return cls(**_options(piece["name"], cls, piece["options"] or ""))


def _check_unimported(pieces: Sequence[re.Match[str]]) -> None:
    """Options and order, before the first pass is asked for, which imports it."""
    for piece in pieces:
        if declared := declaration(piece["name"]):
            _made(piece, declared)
    check_stages([piece["name"] for piece in pieces])


def parse_pipeline(text: str, known: Mapping[str, type[Pass]] | None = None) -> tuple[Pass, ...]:
    """The passes that `text` names, of `known` (default: the registry); PipelineError where it is none."""
    known = BY_NAME if known is None else known
    if not text.strip():
        raise PipelineError("the pipeline names no pass")
    pieces = _pieces(_ITEM, text, "pipeline")
    for piece in pieces:
        _check_name(piece["name"], known)
    if known is BY_NAME:
        _check_unimported(pieces)
    return tuple(_made(piece, known[piece["name"]]) for piece in pieces)
