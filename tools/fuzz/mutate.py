"""Mutations of bytes, of text, and of protocol buffer messages; all from one seeded generator."""

from __future__ import annotations

import math
import re
from collections.abc import MutableSequence, Sequence
from random import Random
from typing import Any

INTEGERS = (0, 1, -1, 2, 3, 7, 16, 255, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, math.inf, -math.inf, math.nan)
STRINGS = (
    "",
    "x",
    "y",
    "NOTSET",
    "SAME_UPPER",
    "linear",
    "../../secret",
    "a" * 300,
    "\u00e4\u2603",
    "%0",
    '"',
)

# Bytes ---------------------------------------------------------------------------------------------


def mutate_bytes(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """One to four local changes of the bytes."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        random.choice(_BYTE_CHANGES)(random, changed)
    if others and random.random() < 0.1:
        other = random.choice(others)
        changed[random.randrange(len(changed) + 1) :] = other[random.randrange(len(other)) :]
    return bytes(changed)


def _span(random: Random, data: bytearray) -> slice:
    begin = random.randrange(len(data) + 1)
    return slice(begin, min(len(data), begin + random.choice((1, 2, 4, 8, 32))))


def _flip(random: Random, data: bytearray) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _overwrite(random: Random, data: bytearray) -> None:
    where = _span(random, data)
    data[where] = random.choice((b"\0", b"\xff", b"\x7f")) * (where.stop - where.start)


def _delete(random: Random, data: bytearray) -> None:
    del data[_span(random, data)]


def _insert(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 16)))


def _repeat(random: Random, data: bytearray) -> None:
    where = _span(random, data)
    data[where.stop : where.stop] = data[where]


def _truncate(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


_BYTE_CHANGES = (_flip, _flip, _flip, _overwrite, _delete, _insert, _repeat, _truncate)

# Text ----------------------------------------------------------------------------------------------

_PIECE = re.compile(r"\w+|\s+|.", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def mutate_text(random: Random, text: str) -> str:
    """One to three changes of pieces (words, numbers, signs) or lines."""
    for _ in range(random.randint(1, 3)):
        text = random.choice((_change_piece, _change_piece, _change_number, _change_number, _change_line))(
            random, text
        )
    return text


def _shuffled_list(random: Random, items: list[str]) -> None:
    """Drops, repeats, moves or exchanges an item."""
    if not items:
        return
    i, j = random.randrange(len(items)), random.randrange(len(items))
    action = random.randrange(4)
    if action == 0:
        del items[i]
    elif action == 1:
        items.insert(j, items[i])
    elif action == 2:
        items[i], items[j] = items[j], items[i]
    else:
        items[i] = items[j]


def _change_piece(random: Random, text: str) -> str:
    pieces = _PIECE.findall(text)
    if random.random() < 0.2:
        pieces.insert(
            random.randrange(len(pieces) + 1), random.choice((*STRINGS, "{", "}", "[", "<", ">", "\0"))
        )
    else:
        _shuffled_list(random, pieces)
    return "".join(pieces)


def _change_number(random: Random, text: str) -> str:
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    number = random.choice(found)
    wanted = random.choice((*map(str, INTEGERS), *map(str, FLOATS), "1e999", "9" * 30, "-"))
    return text[: number.start()] + wanted + text[number.end() :]


def _change_line(random: Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    _shuffled_list(random, lines)
    return "".join(lines)


# Messages ------------------------------------------------------------------------------------------


def mutate_message(random: Random, message: Any, names: Sequence[str]) -> None:
    """One change somewhere in a protocol buffer message; `names` are strings that mean something in it."""
    fields = message.ListFields()
    if not fields:
        return
    descriptor, value = random.choice(fields)
    if isinstance(value, MutableSequence):
        _mutate_repeated(random, value, names)
    elif hasattr(value, "ListFields"):
        mutate_message(random, value, names)
    elif random.random() < 0.1:
        message.ClearField(descriptor.name)
    else:
        _assign(message, descriptor.name, _other(random, value, names))


def _mutate_repeated(random: Random, items: Any, names: Sequence[str]) -> None:
    if not items:
        return
    at, other = random.randrange(len(items)), random.randrange(len(items))
    is_message = hasattr(items[at], "ListFields")
    action = random.randrange(8)
    if action == 0:
        del items[at]
    elif action == 1:
        items.append(items[at])
    elif action == 2:
        ordered = list(items)
        ordered[at], ordered[other] = ordered[other], ordered[at]
        _replace(items, ordered)
    elif is_message:
        mutate_message(random, items[at], names)
    else:
        changed = list(items)
        changed[at] = _other(random, items[at], names)
        _replace(items, changed)


def _replace(items: Any, wanted: list[Any]) -> None:
    """Gives a repeated field other contents; values that its type cannot hold leave it as it was."""
    copies = [_copy(item) for item in wanted]
    kept = [_copy(item) for item in items]
    del items[:]
    try:
        items.extend(copies)
    except (ValueError, TypeError):
        del items[:]
        items.extend(kept)


def _copy(item: Any) -> Any:
    if not hasattr(item, "ListFields"):
        return item
    copy = type(item)()
    copy.CopyFrom(item)
    return copy


def _assign(message: Any, name: str, value: Any) -> None:
    try:
        setattr(message, name, value)
    except (ValueError, TypeError):  # out of the field's range
        message.ClearField(name)


def _other(random: Random, value: Any, names: Sequence[str]) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((value + 1, value - 1, value * 2, random.randrange(30), random.choice(INTEGERS)))
    if isinstance(value, float):
        return random.choice((value * -1, value * 1.5, random.choice(FLOATS)))
    if isinstance(value, bytes):
        return mutate_bytes(random, value)
    return random.choice((*names, random.choice(STRINGS)))
