"""Innermost loops of assembly text and what their instructions do: x86-64 (AT&T), AArch64 and ARMv7."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from secateur.ir.errors import SecateurError


@dataclass(frozen=True)
class Syntax:
    """How an architecture writes what is counted: patterns of mnemonics, and of `stack` within operands."""

    comment: str
    multiply: str
    load: str
    store: str
    branch: str
    stack: str


_CONDITIONS = "eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al"

SYNTAXES = {
    "x86_64": Syntax(
        comment="#",
        multiply=r"v?fn?m(add|sub)\d+[ps][sd]|vpdpbusds?|v?pmaddwd|v?mulps|v?pmulld",
        load=r"(?!)",  # any instruction may have an operand in memory
        store=r"(?!)",
        branch=r"j\w+",
        stack=r"%[re]sp",
    ),
    "aarch64": Syntax(
        comment="//",
        multiply=r"fml[as]|[su]m(ul|l[as])l2?|ml[as]|(us|su|[su])dot|(us|[su])mmla",
        load=r"ld\w+",
        store=r"st\w+",
        branch=r"b|b\.\w+|cbn?z|tbn?z",
        stack=r"\bsp\b",
    ),
    "armv7": Syntax(
        comment="@",
        multiply=r"v(mull?|fma|fms|mla|mls|mlal|mlsl)(\.\w+)?",
        load=r"v?ld\w+(\.\d+)?",
        store=r"(v?st\w+|push)(\.\d+)?",
        branch=rf"b({_CONDITIONS})?",
        stack=r"\bsp\b",
    ),
}
"""By the first part of a target's triple."""

_PAIRS = ("ldp", "stp", "ldrd", "strd")


@dataclass(frozen=True)
class Loop:
    """Instructions from a label to the last branch back to it; no other loop lies between.

    `loads` are accesses, a pair being two and a list of registers as many; an x86 multiplication by memory
    counts there and in `multiplies`. `others` do neither; `spills` are stores to the stack.
    """

    label: str
    instructions: tuple[str, ...]
    multiplies: int
    loads: int
    others: int
    spills: int

    def text(self) -> str:
        return "\n".join(self.instructions) + "\n"


def innermost(assembly: str, architecture: str) -> list[Loop]:
    """The innermost loops in order; SecateurError for an architecture whose assembly is not known."""
    if architecture not in SYNTAXES:
        raise SecateurError(f"no syntax for assembly of '{architecture}'; known: {', '.join(SYNTAXES)}")
    lines, labels = _split_labels(_lines(assembly, SYNTAXES[architecture].comment))
    spans = _loops(lines, labels, SYNTAXES[architecture])
    return [
        _counted(label, lines[first:end], architecture)
        for label, (first, end) in spans.items()
        if not any(first <= f and e <= end and (f, e) != (first, end) for f, e in spans.values())
    ]


def hottest(loops: Sequence[Loop], tile: int = 1) -> Loop:
    """The loop with most multiplications, of those whose number is a multiple of the register tile's.

    Raises SecateurError where there is none.
    """
    fitting = [loop for loop in loops if loop.multiplies and loop.multiplies % tile == 0]
    if not fitting:
        raise SecateurError(f"no loop multiplies a multiple of {tile} times: {[x.multiplies for x in loops]}")
    return max(fitting, key=lambda loop: loop.multiplies)


def _lines(assembly: str, comment: str) -> Iterator[str]:
    """Labels and instructions, without directives and comments."""
    for raw in assembly.splitlines():
        line = raw.split(comment)[0].strip()
        if line.endswith(":") or (line and not line.startswith(".")):
            yield line


def _split_labels(lines: Iterator[str]) -> tuple[list[str], dict[str, int]]:
    """The instructions, and for each label how many stand before it."""
    instructions, labels = list[str](), dict[str, int]()
    for line in lines:
        if line.endswith(":"):
            labels[line[:-1]] = len(instructions)
        else:
            instructions.append(line)
    return instructions, labels


def _loops(lines: Sequence[str], labels: dict[str, int], syntax: Syntax) -> dict[str, tuple[int, int]]:
    """[first, end) of every label that is branched back to; the last such branch is at end - 1."""
    spans = dict[str, tuple[int, int]]()
    for at, line in enumerate(lines):
        mnemonic, operands = _split(line)
        label = operands.split(",")[-1].strip()
        if re.fullmatch(syntax.branch, mnemonic) and labels.get(label, at + 1) <= at:
            spans[label] = (labels[label], at + 1)
    return spans


def _split(line: str) -> tuple[str, str]:
    mnemonic, _, operands = line.replace("\t", " ").partition(" ")
    return mnemonic, operands.strip()


def _counted(label: str, lines: Sequence[str], architecture: str) -> Loop:
    multiplies = loads = others = 0
    for mnemonic, operands in map(_split, lines):
        multiply = re.fullmatch(SYNTAXES[architecture].multiply, mnemonic) is not None
        loaded, _ = _accesses(mnemonic, operands, architecture)
        multiplies, loads = multiplies + multiply, loads + loaded
        others += not multiply and not loaded
    return Loop(label, tuple(lines), multiplies, loads, others, _spills(lines, architecture))


def _spills(lines: Sequence[str], architecture: str) -> int:
    """Stores to the stack, those through a register that ARMv7 code has given an address there among them."""
    spills, frame = 0, set[str]()
    for mnemonic, operands in map(_split, lines):
        loaded, stored = _accesses(mnemonic, operands, architecture)
        stack = re.search(SYNTAXES[architecture].stack, operands) is not None or _base(operands) in frame
        spills += stored if stack else 0
        written = operands.split(",")[0].strip()
        if architecture == "armv7" and mnemonic in ("add", "sub", "mov") and stack:
            frame.add(written)
        elif loaded or not stored:
            frame.discard(written)
    return spills


def _base(operands: str) -> str:
    """The register that an access starts from: that in brackets, or the first of an ARM multiple access."""
    bracket = re.search(r"\[(\w+)", operands)
    if bracket:
        return bracket[1]
    return operands.split(",")[0].strip("! ") if "{" in operands else ""


def _accesses(mnemonic: str, operands: str, architecture: str) -> tuple[int, int]:
    """(loads, stores)."""
    if architecture == "x86_64":
        return _x86_accesses(mnemonic, operands)
    listed = len(re.findall(r"\bv\d+", operands)) if re.fullmatch(r"(ld|st)1", mnemonic) else 1
    syntax, count = SYNTAXES[architecture], 2 if mnemonic in _PAIRS else listed
    loaded, stored = (re.fullmatch(pattern, mnemonic) is not None for pattern in (syntax.load, syntax.store))
    return count * loaded, count * stored


def _x86_accesses(mnemonic: str, operands: str) -> tuple[int, int]:
    """The last operand is the result: a store where it lies in memory, a load where another does."""
    if "(" not in operands or mnemonic.startswith(("lea", "prefetch", "nop")):
        return 0, 0
    in_memory = re.search(r"\([^()]*\)(\s*\{[^}]*\})*$", operands) is not None
    if not in_memory or mnemonic.startswith(("cmp", "test")):
        return 1, 0
    moves = re.match(r"v?mov|vextract|vpmov", mnemonic) is not None
    return int(not moves), 1
