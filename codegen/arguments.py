"""LLVM IR that writes the pointers of a call's arguments into an array: what drivers share."""

from __future__ import annotations

from collections.abc import Iterator

from .program import Call, Ref


def argument_lines(index: int, call: Call) -> Iterator[str]:
    """Stores every argument's pointer into its slot of `%args`."""
    for slot, ref in enumerate(call.args):
        name = f"%c{index}a{slot}"
        yield from _pointer_lines(name, ref)
        yield f"{name}.slot = getelementptr ptr, ptr %args, i32 {slot}"
        yield f"store ptr {name}, ptr {name}.slot"


def _pointer_lines(name: str, ref: Ref) -> Iterator[str]:
    if ref.space.is_callers:
        yield f"{name}.at = getelementptr ptr, ptr %{ref.space.value}s, i32 {ref.index}"
        yield f"{name} = load ptr, ptr {name}.at"
    else:
        yield f"{name} = getelementptr i8, ptr %{ref.space.value}, i64 {ref.offset}"


def ascii_of(text: str) -> str:
    """A text fit for a comment."""
    return text.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")


def workspace_lines(index: int, call: Call) -> tuple[str, list[str]]:
    """The workspace's pointer, and the lines that compute it."""
    if call.workspace < 0:
        return "null", []
    return f"%c{index}w", [f"%c{index}w = getelementptr i8, ptr %arena, i64 {call.workspace}"]
