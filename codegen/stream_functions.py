"""The functions that kernels with streams call (`vector/streams.py`), in LLVM IR; all of them are inlined."""

from __future__ import annotations

import re

from .vector.streams import ANEW, ASK, HELD, KEPT, MOVED, PLACE, PREFIX, PUT, STORE, TAKE

_BITS = 128
_INTRINSIC = re.compile(r"call (\{[^}]*\} @llvm\.aarch64[\w.]+\(ptr)")
_STORE = re.compile(r"call (void @llvm\.aarch64[\w.]+)\(((?:<[^>]*> %v\d, )+)ptr")
_PREFETCH = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"
_KINDS = {
    "float32": ("float", "f32", 32), "float16": ("half", "f16", 16), "int32": ("i32", "i32", 32),
    "int16": ("i16", "i16", 16), "int8": ("i8", "i8", 8), "uint8": ("i8", "i8", 8),
}  # fmt: skip


def with_functions(text: str) -> str:
    """The LLVM IR with a definition of every such function that it calls."""
    called = sorted(set(re.findall(rf"call [^@\n]*@({PREFIX}\w+)\(", text)))
    made = "\n".join(map(_function, called))
    return f"{text}\n{made}\n{_declarations(text, made)}" if called else text


def _declarations(text: str, made: str) -> str:
    """Of the intrinsics that the functions call and the text does not."""
    lines = {f"declare {found})" for found in _INTRINSIC.findall(made)}
    for name, vectors in _STORE.findall(made):
        lines.add(f"declare {name}({re.sub(' %v.', '', vectors)}ptr)")
    if "@llvm.prefetch" in made and "declare void @llvm.prefetch.p0(" not in text:
        lines.add(_PREFETCH)
    return "".join(f"{line}\n" for line in sorted(lines))


def _function(name: str) -> str:
    if name.startswith(TAKE):
        return _taking(name)
    if name.startswith(STORE):
        return _storing(name)
    if name.startswith(PUT):
        return _putting(name)
    if name.startswith(HELD):
        return _holding(name, HELD, " sideeffect")
    if name.startswith(KEPT):
        return _holding(name, KEPT, "")
    return _asking(name) if name.startswith(ASK) else _FIXED[name]


_FIXED = {
    PLACE: f"""define internal i64 @{PLACE}(ptr %element) alwaysinline {{
  %at = ptrtoint ptr %element to i64
  ret i64 %at
}}""",
    MOVED: f"""define internal i64 @{MOVED}(i64 %at) alwaysinline {{
  %there = call i64 asm "", "=r,0"(i64 %at)
  ret i64 %there
}}""",
    ANEW: f"""define internal i64 @{ANEW}(i64 %at) alwaysinline {{
  %there = call i64 asm sideeffect "", "=r,0"(i64 %at)
  ret i64 %there
}}""",
}


def _asking(name: str) -> str:
    near = 4 - int(name.removeprefix(ASK))
    return f"""define internal void @{name}(i64 %at) alwaysinline {{
  %line = inttoptr i64 %at to ptr
  call void @llvm.prefetch.p0(ptr %line, i32 0, i32 {near}, i32 1)
  ret void
}}"""


def _holding(name: str, prefix: str, effect: str) -> str:
    """`held_TYPE` and `kept_TYPE`, of a whole register or as many lanes as the type has."""
    dtype, _, lanes = name.removeprefix(prefix + "_").partition("x")
    kind, _, bits = _KINDS[dtype]
    vector = f"<{lanes or _BITS // bits} x {kind}>"
    return f"""define internal {vector} @{name}({vector} %sum) alwaysinline {{
  %complete = call {vector} asm{effect} "", "=w,0"({vector} %sum)
  ret {vector} %complete
}}"""


def _taking(name: str) -> str:
    """`takeN_TYPE`: a load of N vectors, joined to one."""
    number, dtype = name.removeprefix(TAKE).split("_")
    count, (kind, short, bits) = int(number), _KINDS[dtype]
    lanes = _BITS // bits
    vector, whole = f"<{lanes} x {kind}>", f"<{count * lanes} x {kind}>"
    head = f"define internal {whole} @{name}(i64 %at) alwaysinline {{\n  %place = inttoptr i64 %at to ptr\n"
    if count == 1:
        return f"{head}  %v0 = load {vector}, ptr %place, align {bits // 8}\n  ret {whole} %v0\n}}"
    several = "{ " + ", ".join([vector] * count) + " }"
    intrinsic = f"{several} @llvm.aarch64.neon.ld1x{count}.v{lanes}{short}.p0"
    lines = [f"  %all = call {intrinsic}(ptr %place)"]
    lines += [f"  %v{i} = extractvalue {several} %all, {i}" for i in range(count)]
    lines += [_widened(i, lanes, count, kind) for i in range(count)]
    lines += [_joined(i, lanes, count, kind) for i in range(1, count)]
    last = f"%j{count - 1}"
    return "\n".join([head + lines[0], *lines[1:], f"  ret {whole} {last}", "}"])


def _putting(name: str) -> str:
    """`put_TYPExLANES`: a store."""
    dtype, _, lanes = name.removeprefix(PUT + "_").partition("x")
    kind, _, bits = _KINDS[dtype]
    return f"""define internal void @{name}(i64 %at, <{lanes} x {kind}> %value) alwaysinline {{
  %place = inttoptr i64 %at to ptr
  store <{lanes} x {kind}> %value, ptr %place, align {bits // 8}
  ret void
}}"""


def _storing(name: str) -> str:
    """`storeN_TYPE`: a store of N vectors."""
    number, dtype = name.removeprefix(STORE).split("_")
    count, (kind, short, bits) = int(number), _KINDS[dtype]
    lanes = _BITS // bits
    values = ", ".join(f"<{lanes} x {kind}> %v{i}" for i in range(count))
    several = f"call void @llvm.aarch64.neon.st1x{count}.v{lanes}{short}.p0({values}, ptr %place)"
    store = several if count > 1 else f"store {values}, ptr %place, align {bits // 8}"
    head = f"define internal void @{name}(i64 %at, {values}) alwaysinline {{"
    return f"{head}\n  %place = inttoptr i64 %at to ptr\n  {store}\n  ret void\n}}"


def _widened(i: int, lanes: int, count: int, kind: str) -> str:
    """Vector `i` as the first of as many."""
    vector, elements = f"<{lanes} x {kind}>", lanes * count
    mask = _mask(j if j < lanes else None for j in range(elements))
    name = "j0" if i == 0 else f"w{i}"
    return f"  %{name} = shufflevector {vector} %v{i}, {vector} poison, <{elements} x i32> {mask}"


def _joined(i: int, lanes: int, count: int, kind: str) -> str:
    """The vectors before number `i`, and it."""
    whole, elements, first = f"<{lanes * count} x {kind}>", lanes * count, i * lanes
    inside = range(first, first + lanes)
    mask = _mask(j - first + elements if j in inside else j if j < first else None for j in range(elements))
    return f"  %j{i} = shufflevector {whole} %j{i - 1}, {whole} %w{i}, <{elements} x i32> {mask}"


def _mask(elements: object) -> str:
    return "<" + ", ".join("i32 poison" if e is None else f"i32 {e}" for e in elements) + ">"  # type: ignore[attr-defined]
