"""Lists of channels as attributes hold them: ranges `[begin, end, begin, end, ...]`, ends not included.

A network's channels run from 0 to C, so that what is not pruned prints as `[0, C]`; any list in any
order is some such ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranges = tuple[int, ...]


def ranges_of(indices: Iterable[int]) -> Ranges:
    """The ranges of a list: (0, 1, 2, 7, 8) is `[0, 3, 7, 9]`."""
    found: list[int] = []
    for index in indices:
        if found and found[-1] == index:
            found[-1] += 1
        else:
            found += [int(index), int(index) + 1]
    return tuple(found)


def indices_of(ranges: Sequence[int]) -> tuple[int, ...]:
    """The list that ranges stand for."""
    return tuple(i for begin, end in pairs(ranges) for i in range(begin, end))


def pairs(ranges: Sequence[int]) -> list[tuple[int, int]]:
    """The ranges one by one."""
    return list(zip(ranges[::2], ranges[1::2], strict=True))


def broken(ranges: Sequence[int], extent: int) -> str | None:
    """Why `ranges` are none of channels 0 to `extent`, or None."""
    if len(ranges) % 2:
        return "a range needs a begin and an end"
    wrong = next((p for p in pairs(ranges) if not 0 <= p[0] < p[1] <= extent), None)
    return f"range {list(wrong)} is none of {extent} channels" if wrong else None


def shared_out(ranges: Sequence[int], counts: Sequence[int]) -> list[tuple[int, ...]]:
    """The list that ranges stand for, cut into parts of `counts` channels."""
    listed, parts, at = indices_of(ranges), [], 0
    for count in counts:
        parts.append(listed[at : at + count])
        at += count
    return parts
