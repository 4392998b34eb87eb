"""The tokens of the text form, and how a parser takes them; errors show the line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from .errors import SecateurError

T = TypeVar("T")

_TOKEN = re.compile(
    r"""\s+|//[^\n]*
      |(?P<name>%(?:[A-Za-z0-9_./\-]+|"(?:[^"\\\n]|\\.)*"))
      |(?P<string>"(?:[^"\\\n]|\\.)*")
      |(?P<type>tensor<)
      |(?P<graph>@(?:[A-Za-z_][A-Za-z0-9_./]*|"(?:[^"\\\n]|\\.)*"))
      |(?P<word>[A-Za-z_][A-Za-z0-9_./]*)
      |(?P<number>-?(?:inf|nan|\d[0-9.]*(?:[eE][+-]?\d+)?))
      |(?P<sign>->|[(){}\[\]<>=,:])
    """,
    re.VERBOSE,
)


class ParseError(SecateurError):
    """Text that is no graph; the message gives line and column."""


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    at: int


@dataclass
class Tokens:
    """One text being read."""

    text: str
    position: int = field(default=0, init=False)

    def fail(self, message: str, at: int | None = None) -> ParseError:
        at = self.position if at is None else at
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        shown = self.text.split("\n")[line - 1]
        return ParseError(
            f"line {line}, column {column}: {message}\n  {shown[:200]}\n  {' ' * (min(column, 200) - 1)}^"
        )

    def peek(self) -> Token:
        while True:
            found = _TOKEN.match(self.text, self.position)
            if found is None:
                if self.position >= len(self.text):
                    return Token("end", "end of text", self.position)
                raise self.fail(f"unexpected character {self.text[self.position]!r}")
            if found.lastgroup is not None:
                return Token(found.lastgroup, found[0], self.position)
            self.position = found.end()

    def take(self, expected: str = "", kind: str = "") -> Token:
        token = self.peek()
        if (expected and token.text != expected) or (kind and token.kind != kind):
            raise self.fail(f"expected {expected or 'a ' + kind}, found {token.text}", token.at)
        self.position = token.at + len(token.text) if token.kind != "end" else token.at
        return token

    def accept(self, text: str) -> bool:
        if self.peek().text != text:
            return False
        self.take(text)
        return True

    def sequence(self, close: str, item: Callable[[], T]) -> list[T]:
        """Items separated by commas, up to and including `close`."""
        items: list[T] = []
        while not self.accept(close):
            if items:
                self.take(",")
            items.append(item())
        return items

    def string(self) -> str:
        token = self.take(kind="string")
        return self.decoded(token.text, token.at)

    def decoded(self, quoted: str, at: int) -> str:
        try:
            return str(json.loads(quoted))
        except json.JSONDecodeError as error:
            raise self.fail(f"bad string: {error.msg}", at) from None

    def integer(self) -> int:
        token = self.take(kind="number")
        if not re.fullmatch(r"-?\d{1,19}", token.text):
            raise self.fail(f"expected an integer, found {token.text}", token.at)
        return int(token.text)

    def number(self) -> float:
        token = self.take()
        try:
            return float(token.text)
        except ValueError:
            raise self.fail(f"expected a number, found {token.text}", token.at) from None
