"""Options, each said once: as an annotated field of a frozen dataclass.

    tile: Annotated[Tile, Help("Which tile is taken.")] = "auto"

The class's docstring, the pipeline's text and the command line take names, kinds, words that are known,
defaults and meanings from there.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from numbers import Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import SecateurError
from .words import known_names

Class = TypeVar("Class", bound=type)
Unit = Literal["bytes", "seconds", "share", "time", "room"]
"""How a number counts; a time is in seconds or a `units.Share`, room is in bytes or one."""


@dataclass(frozen=True)
class Help:
    """What an option means, in a sentence or two; how its value is called, and counted."""

    text: str
    metavar: str | None = None
    unit: Unit | None = None


@dataclass(frozen=True)
class Option:
    """A field as an option: of `kind` bool, int, float, str or tuple (of names); object: none of these.

    `choices` are the words known, where they are few. `help` is None where a field has no meaning of its own
    on the command line.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    default: Any
    help: Help | None

    @property
    def meaning(self) -> str:
        """The help with the default, where that says something."""
        text, value = self.help.text if self.help else "", self.default
        shown = f"{value:g}" if isinstance(value, float) else value
        return f"{text} Default: {shown}." if isinstance(shown, str) else text


@cache
def options_of(cls: type) -> Mapping[str, Option]:
    """The fields of a dataclass by name, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: _option(field, hints[field.name]) for field in fields(cls)}


def _option(field: Field[Any], hint: Any) -> Option:
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Help)]
    kind, choices = _kind(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    default = None if field.default is MISSING else field.default
    return Option(field.name, kind, choices, default, notes[0] if notes else None)


def _kind(hint: Any) -> tuple[type, tuple[str, ...]]:
    """The first kind of option among the types of a union."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for part in parts:
        if get_origin(part) is Literal:
            return str, get_args(part)
        if get_origin(part) in (tuple, Sequence):
            return tuple, ()
        if part in (bool, int, float, str):
            return part, ()
    return object, ()


def documented(cls: Class) -> Class:
    """Adds a line for each option to the docstring of a dataclass."""
    lines = [f"    {option.name}: {_line(option)}" for option in options_of(cls).values() if option.help]
    cls.__doc__ = "\n".join([(cls.__doc__ or "").rstrip(), "", *lines])
    return cls


_COUNTED = {
    "bytes": " In bytes.",
    "seconds": " In seconds.",
    "time": " In seconds, or a text such as 50%.",
    "room": " In bytes, or a text such as 50%.",
}


def _line(option: Option) -> str:
    unit = _COUNTED.get(option.help.unit or "", "") if option.help else ""
    return f"{option.meaning}{unit}{f' Of {listing}.' if (listing := ', '.join(option.choices)) else ''}"


def settle(options: Any) -> None:
    """Makes the values of a frozen dataclass what its fields say: names a tuple, whole numbers floats.

    For `__post_init__`. SecateurError for a word that is none of a field's choices, or no number.
    """
    cls: type = type(options)
    for name, option in options_of(cls).items():
        value = getattr(options, name)
        if value is not None:
            _check(option, value)
        object.__setattr__(options, name, _settled(value, option.kind))


def _check(option: Option, value: Any) -> None:
    if option.choices and value not in option.choices:
        raise SecateurError(f"unknown {option.name} '{value}'{known_names(str(value), option.choices)}")
    if option.kind in (int, float) and not isinstance(value, Real):
        raise SecateurError(f"{option.name} must be a number, is {value!r}")


def _settled(value: Any, kind: type) -> Any:
    if kind is tuple:
        return tuple(filter(None, [value] if isinstance(value, str) else value))
    return float(value) if kind is float and value is not None and not isinstance(value, float) else value
