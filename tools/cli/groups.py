"""Options that belong together: the fields of a dataclass that a command takes, and a section of its help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from typer.core import TyperCommand

Command = Callable[..., None]


def spread(*without: str) -> Callable[[Command], Command]:
    """Makes an option of each field of a command's parameters that are dataclasses.

        @spread("profile")
        def quantize(model: ModelPath, *, asked: Quantization) -> None
     -> def quantize(*, model: ModelPath, calibration: ..., method: ...) -> None

    The fields called `without` are no options of this command and keep their defaults.
    """
    return lambda command: _spread(command, without)


def _spread(command: Command, without: Collection[str]) -> Command:
    declared = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {p.name: p.annotation for p in declared if is_dataclass(p.annotation)}

    def called(**words: Any) -> None:
        made = {name: _made(group, words) for name, group in groups.items()}
        command(**words, **made)

    parameters = [q for p in declared for q in _options(p, without)]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    return called


def _options(parameter: inspect.Parameter, without: Collection[str]) -> Iterator[inspect.Parameter]:
    """The parameter itself, or one for each field."""
    group, keyword = parameter.annotation, inspect.Parameter.KEYWORD_ONLY
    if not is_dataclass(group):
        yield parameter.replace(kind=keyword)
        return
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        if field.name not in without:
            yield inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])


def _made(group: Any, words: dict[str, Any]) -> Any:
    """The dataclass, of the words that are its fields; they are taken out of `words`."""
    names = [field.name for field in fields(group) if field.name in words]
    return group(**{name: words.pop(name) for name in names})


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
