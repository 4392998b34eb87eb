"""Graphs for tests as text, constants filled in, and the comparisons that tests make.

`NAME.rules` and `NAME.refusals` beside this file hold the cases of a pass. In
all texts `%w = const : tensor<4x3x3x3xf32>` is a constant whose elements
the test's seed chooses, and `conv`'s usual attributes may be written `SAME`
(stride 1, padding 1) or `VALID` (stride 1, no padding).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.ir.types import DType, TensorType

Array = np.ndarray[Any, Any]

_CONST = re.compile(r"%(\S+) = const : tensor<((?:\d+x)*)(\w+)>")
_KINDS = ("normal", "positive", "negative", "large", "zero", "small integers")


def _elements(choose: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    normal = choose.standard_normal(shape)
    table = {
        "normal": normal,
        "positive": np.abs(normal) + 0.1,
        "negative": -np.abs(normal) - 0.1,
        "large": normal * 100,
        "zero": np.zeros(shape),
        "small integers": np.round(normal * 2),
    }
    return np.asarray(table[kind])


def _constant(name: str, dims: str, dtype: str, choose: np.random.Generator, plain: bool) -> Array:
    """Elements of a constant: any bytes; names that start with `var` or `div` get positive numbers."""
    shape = tuple(int(d) for d in dims.split("x") if d)
    kind = "normal" if plain else str(choose.choice(_KINDS))
    kind = "positive" if name.startswith(("var", "div")) else kind
    if dtype in ("i8", "u8"):
        return choose.integers(0, 256, shape, np.uint8).view(DType(dtype).numpy)
    kind = "positive" if dtype.startswith("u") else kind
    return _elements(choose, shape, kind).astype(DType(dtype).numpy)


def build(text: str, seed: int = 0) -> Graph:
    """The graph of a text. Seed 0 gives normally distributed constants, others zeros and large ones too."""
    choose = np.random.default_rng(seed)
    resources = {m[1]: _constant(m[1], m[2], m[3], choose, not seed) for m in _CONST.finditer(text)}
    replaced = r'%\1 = nn.constant() {value = dense_resource<"\1">} : tensor<\2\3>'
    whole = _CONST.sub(replaced, text)
    for word, pad in (("SAME", 1), ("VALID", 0)):
        pads = ", ".join([str(pad)] * 4)
        whole = whole.replace(word, f"strides = [1, 1], pads = [{pads}], dilations = [1, 1]")
    return parse_graph(whole, resources)


def inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Arrays for the graph's inputs."""
    choose = np.random.default_rng(seed + 1)
    return {v.name: _input(v.type, choose) for v in graph.inputs}


def _input(type: TensorType, choose: np.random.Generator) -> Array:
    return _elements(choose, type.shape, str(choose.choice(_KINDS))).astype(type.dtype.numpy)


@dataclass(frozen=True)
class Case:
    """A rule, the text before, and what stands after `---`: the text expected, or a reason."""

    rule: str
    before: str
    after: str
    number: int

    def __str__(self) -> str:
        return f"{self.rule}-{self.number}"


def cases(file: str) -> list[Case]:
    """The cases in a file such as `fuse/fuse.rules`, given as `fuse.rules`, with comments left out."""
    path = Path(__file__).parent / file.split(".")[0] / file
    text = re.sub(r"^//.*\n", "", path.read_text(), flags=re.MULTILINE)
    found = []
    for number, part in enumerate(text.split("=== ")[1:]):
        rule, rest = part.split("\n", 1)
        before, after = rest.split("---\n")
        found.append(Case(rule.strip(), before.strip(), after.strip(), number))
    return found


def body(type: str, text: str) -> str:
    """A whole graph around `text`, with inputs %x and %z of one type."""
    return f"graph @g(%x: {type}, %z: {type}) {{\n{text}\n}}"


def answers(graph: Graph, seed: int = 0) -> dict[str, Array]:
    return run(graph, inputs(graph, seed))


def _attribute(value: Any) -> Hashable:
    return (value.shape, value.dtype.name) if isinstance(value, np.ndarray) else repr(value)


def structure(graph: Graph) -> list[Hashable]:
    """What graphs share that differ in names, order of independent operators and elements of constants."""
    known: dict[Value, Hashable] = {v: ("input", i, v.type) for i, v in enumerate(graph.inputs)}
    for op in graph.operators:
        for i, result in enumerate(op.results):
            known[result] = (_head(op), tuple(known[v] for v in op.operands), i, result.type)
    return [(known[v], n) for v, n in zip(graph.outputs, graph.output_names, strict=True)]


def same_structure(one: Graph, other: Graph) -> bool:
    """Whether the structures are equal: in time by operators, where comparing tuples takes it by paths."""
    numbers: dict[Hashable, int] = {}
    return _numbered(one, numbers) == _numbered(other, numbers)


def _numbered(graph: Graph, numbers: dict[Hashable, int]) -> list[Hashable]:
    """The outputs, every value that is computed alike under one number."""

    def number(head: Hashable) -> int:
        return numbers.setdefault(head, len(numbers))

    known: dict[Value, int] = {v: number(("input", i, v.type)) for i, v in enumerate(graph.inputs)}
    for op in graph.operators:
        for i, result in enumerate(op.results):
            known[result] = number((_head(op), tuple(known[v] for v in op.operands), i, result.type))
    return [(known[v], n) for v, n in zip(graph.outputs, graph.output_names, strict=True)]


def _head(op: Operator) -> Hashable:
    values = {a.name: op[a.name] for a in op.definition.attributes} | op.attributes
    return (op.name, tuple(sorted((k, _attribute(v)) for k, v in values.items())))


def names(graph: Graph) -> list[str]:
    """Names of the operators that are no constants, in order."""
    return [op.name for op in graph.operators if op.name != "nn.constant"]


# Quantized graphs ----------------------------------------------------------------------------------

_SHORT = {
    r"%(\w+) = (bytes|signed) %(\w+) (\S+) (\S+):(\S+)(?=\n)": (
        r"%\1 = q.quantize(%\3) {scales = [\5], zero_points = [\6], dtype = \2} : tensor<\4x\2, quant<\5:\6>>"
    ),
    r"%(\w+) = real %(\w+) (\S+)\n": r"%\1 = q.dequantize(%\2) : tensor<\3xf32>\n",
    r"%(\w+) = weights (\S+) (\S+)\n": r"%\1_s = stored \2 \3\n%\1 = real %\1_s \2\n",
    r"%(\w+) = stored (\S+) (\S+)\n": (
        r"%\1_c = const : tensor<\2xi8>\n"
        r"%\1 = q.annotate(%\1_c) {scales = [\3], zero_points = [0]} : tensor<\2xi8, quant<\3:0>>\n"
    ),
}


def expanded(text: str) -> str:
    """A text with the abbreviations for quantized values spelled out; `integer.rules` lists them."""
    for short in ("weights", "stored", "bytes", "real"):
        for pattern, long in _SHORT.items():
            if short in pattern:
                text = re.sub(pattern, long, text)
    return re.sub("(x|= )(bytes|signed)", lambda m: m[1] + {"bytes": "u8", "signed": "i8"}[m[2]], text)


def steps(wanted: Mapping[str, Array], got: Mapping[str, Array]) -> float:
    """How far the answers differ: integers by how much, reals by what share of the largest one."""
    return max(_distance(w, got[name]) for name, w in wanted.items())


def _distance(wanted: Array, got: Array) -> float:
    assert wanted.dtype == got.dtype
    apart = float(np.abs(wanted.astype(np.float64) - got.astype(np.float64)).max())
    return apart if wanted.dtype.kind in "iu" else apart / max(1.0, float(np.abs(wanted).max())) / 1e-4
