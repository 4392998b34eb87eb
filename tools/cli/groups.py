"""Options that belong together, which a command takes as one parameter, and a section of its help.

A parameter that is a dataclass of the command line's own has fields annotated with `typer.Option`. One
that is `Given[Limits]`, say, stands for a value object of `secateur`: its options, with their kinds and
their help, are that object's fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from secateur.ir.support.options import Option, options_of

from .quantities import QUANTITIES

Command = Callable[..., None]
Value = TypeVar("Value")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Given(Generic[Value]):
    """What the command line says of a value object: those of its fields that are given, by name."""

    kind: type[Value]
    words: Mapping[str, Any]

    def value(self, **more: Any) -> Value:
        """The value object, with `more` in place of what is given; SecateurError where it refuses that."""
        return self.kind(**{**self.words, **more})

    @property
    def options(self) -> list[str]:
        """What is given, as it is written on the command line."""
        return [flag(name) for name in self.words]


def flag(name: str) -> str:
    """A field's name as an option: `--keep-float`."""
    return f"--{name.replace('_', '-')}"


def spread(*without: str) -> Callable[[Command], Command]:
    """Makes an option of each field of a command's parameters that are dataclasses, or `Given` such.

        @spread("profile")
        def quantize(model: ModelPath, *, quantization: Given[Int8]) -> None
     -> def quantize(*, model: ModelPath, calibration: ..., method: ...) -> None

    The fields called `without` are no options of this command and keep their defaults.
    """
    return lambda command: _spread(command, without)


def _spread(command: Command, without: Collection[str]) -> Command:
    declared = inspect.signature(command, eval_str=True).parameters.values()
    groups = {p.name: p.annotation for p in declared if _is_group(p.annotation)}

    def called(**words: Any) -> None:
        made = {name: _made(group, words) for name, group in groups.items()}
        command(**words, **made)

    parameters = [q for p in declared for q in _options(p, without)]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    return called


def _is_group(annotation: Any) -> bool:
    return is_dataclass(annotation) or get_origin(annotation) is Given


def _options(parameter: inspect.Parameter, without: Collection[str]) -> Iterator[inspect.Parameter]:
    """The parameter itself, or one for each field."""
    group = parameter.annotation
    if get_origin(group) is Given:
        (kind,) = get_args(group)
        yield from command_options(kind, parameter.name.capitalize(), without)
    elif is_dataclass(group):
        hints = get_type_hints(group, include_extras=True)
        for field in fields(group):
            if field.name not in without:
                yield inspect.Parameter(
                    field.name, _KEYWORD, default=field.default, annotation=hints[field.name]
                )
    else:
        yield parameter.replace(kind=_KEYWORD)


# Options of a value object -------------------------------------------------------------------------


def command_options(
    kind: type, panel: str = "Options", without: Collection[str] = ()
) -> Iterator[inspect.Parameter]:
    """The fields of a value object that have a meaning of their own, as options in a section of the help.

    Its own come before those that it inherits.
    """
    for option in sorted(options_of(kind).values(), key=lambda o: o.name not in kind.__annotations__):
        if option.help is not None and option.name not in without:
            yield _derived(option, panel)


def _derived(option: Option, panel: str) -> inspect.Parameter:
    """The option of a field; None, or an empty list, where it is not given."""
    assert option.help is not None, "fields without a meaning are no options"
    name = flag(option.name)
    negative = f"/--no-{name[2:]}" if option.default is True else ""
    declared = typer.Option(
        f"{name}{negative}", metavar=option.help.metavar, help=_help(option), rich_help_panel=panel
    )
    annotation: Any = Annotated[_type(option), declared]
    return inspect.Parameter(option.name, _KEYWORD, default=None, annotation=annotation)


def _help(option: Option) -> str:
    unit = option.help.unit if option.help else None
    example = f" Such as {QUANTITIES[unit].example}." if unit else ""
    several = " Several with commas between. Repeatable." if option.kind is tuple else ""
    return f"{option.meaning}{example}{several}"


def _type(option: Option) -> Any:
    if option.choices:
        return Literal[option.choices] | None
    if option.help is not None and option.help.unit:
        return str | None
    return list[str] | None if option.kind is tuple else option.kind | None


def _made(group: Any, words: dict[str, Any]) -> Any:
    """The dataclass, or what is given of it, of the words that are its fields; they leave `words`."""
    if get_origin(group) is not Given:
        return group(**{field.name: words.pop(field.name) for field in fields(group) if field.name in words})
    (kind,) = get_args(group)
    taken = {name: (option, words.pop(name)) for name, option in options_of(kind).items() if name in words}
    return Given(kind, {name: _read(*pair) for name, pair in taken.items() if pair[1] not in (None, [])})


def _read(option: Option, value: Any) -> Any:
    """What a word says, in the option's unit."""
    unit = option.help.unit if option.help else None
    return QUANTITIES[unit].parse(value, flag(option.name)) if unit else value


# Help ----------------------------------------------------------------------------------------------

ALONE = {"--verify": "--verify=passes"}
"""Options that may stand alone, and what they then mean; their values follow a `=` only."""


class Sections(TyperCommand):
    """A command whose help has a section for each panel that its options name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [ALONE.get(word, word) for word in args])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                sections.setdefault(_section(parameter), []).append(record)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _section(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or "Options"
