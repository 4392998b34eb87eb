"""The graph: operators over typed values, one block, static single assignment.

Graphs, operators and values are mutable and compare by identity; types and
attributes are frozen and compare by value. Uses are kept by the operand and
output setters, so a graph is only ever changed through the methods here. Each
takes time for what it changes, not for how many users or operands that has:
a value may have thousands of users and an operator thousands of operands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .opdef import OpDef
from .types import TensorType

Array = np.ndarray[Any, Any]
Attributes = dict[str, Any]


class Value:
    """A tensor computed once: by an operator, or given as a graph input."""

    def __init__(self, type: TensorType, name: str = "", producer: Operator | None = None) -> None:
        self.type = type
        self.name = name
        self.producer = producer
        self.uses: dict[tuple[Operator, int], None] = {}  # in order: who reads it, as which operand

    @property
    def users(self) -> list[Operator]:
        """The operators that read the value, one entry per use."""
        return [op for op, _ in self.uses]

    @property
    def is_constant(self) -> bool:
        """Whether `nn.constant` makes it."""
        return self.producer is not None and self.producer.name == "nn.constant"

    def replace_by(self, other: Value) -> None:
        """Makes every user read `other` instead; graph outputs are the graph's to change."""
        for user, at in list(self.uses):
            user.set_operand(at, other)

    def __repr__(self) -> str:
        return f"%{self.name or '?'}: {self.type}"


class Operator:
    """One operator: its declaration, operands, attributes, results, and the ONNX nodes it came from."""

    def __init__(
        self,
        definition: OpDef,
        operands: Sequence[Value],
        attributes: Mapping[str, Any],
        result_types: Sequence[TensorType],
        loc: str = "",
    ) -> None:
        self.definition = definition
        self.attributes: Attributes = dict(attributes)
        self.loc = loc
        self.results = [Value(t, producer=self) for t in result_types]
        self._operands: list[Value] = []
        self.operands = list(operands)

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def called(self) -> str:
        """What messages call it: `nn.conv (ONNX node conv1)`."""
        return f"{self.name} (ONNX node {self.loc})" if self.loc else self.name

    @property
    def operands(self) -> list[Value]:
        """The operands; assign a new list or call `set_operand` to change them (items must not be set)."""
        return list(self._operands)

    @operands.setter
    def operands(self, values: Sequence[Value]) -> None:
        for at, old in enumerate(self._operands):
            del old.uses[self, at]
        self._operands = list(values)
        for at, new in enumerate(self._operands):
            new.uses[self, at] = None

    def reads(self, value: Value, at: int) -> bool:
        """Whether `value` is operand number `at`."""
        return at < len(self._operands) and self._operands[at] is value

    def set_operand(self, at: int, value: Value) -> None:
        """Makes `value` operand number `at`."""
        del self._operands[at].uses[self, at]
        self._operands[at] = value
        value.uses[self, at] = None

    @property
    def result(self) -> Value:
        """The only result; ValueError where there are several."""
        (value,) = self.results
        return value

    @property
    def macs(self) -> int:
        """How many multiply-accumulates computing it takes."""
        return self.definition.macs([v.type for v in self._operands], self.result.type)

    def __getitem__(self, attribute: str) -> Any:
        """The attribute's value, or its declared default."""
        if attribute in self.attributes:
            return self.attributes[attribute]
        return self.definition.default(attribute)

    def get(self, attribute: str, default: Any = None) -> Any:
        """The attribute where it is set, else `default`."""
        return self.attributes.get(attribute, default)

    def __repr__(self) -> str:
        return f"<{self.name} {self.loc}>"


def constant_of(value: Value) -> Array | None:
    """The elements of a constant value, else None."""
    return value.producer["value"] if value.producer is not None and value.is_constant else None


class Graph:
    """Inputs, operators in a topological order, outputs."""

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.outputs = []
        self.output_names: list[str] = []
        self.operators: list[Operator] = []

    @property
    def outputs(self) -> list[Value]:
        """The outputs; assign a new list to change them (items must not be set in place)."""
        return self._outputs

    @outputs.setter
    def outputs(self, values: list[Value]) -> None:
        self._outputs = values
        self._returned = Counter(values)

    def add_input(self, type: TensorType, name: str) -> Value:
        value = Value(type, name)
        self.inputs.append(value)
        return value

    def set_outputs(self, values: Iterable[Value], names: Iterable[str]) -> None:
        """The same value may be returned under several names."""
        self.outputs, self.output_names = list(values), list(names)

    def append(self, op: Operator) -> Operator:
        self.operators.append(op)
        return op

    def insert_before(self, anchor: Operator, ops: Iterable[Operator]) -> None:
        at = self.operators.index(anchor)
        self.operators[at:at] = list(ops)

    def replace_value(self, old: Value, new: Value) -> None:
        """Every use of `old`, outputs included, becomes `new`; a name that says something is kept."""
        old.replace_by(new)
        if old in self._returned:
            self.outputs = [new if v is old else v for v in self.outputs]
        if not new.name:
            new.name = old.name

    def erase(self, op: Operator) -> None:
        """Removes an operator none of whose results is used."""
        self.replace_operators({op: []})

    def replace_operators(self, replacements: Mapping[Operator, Sequence[Operator]]) -> None:
        """Puts other operators in the place of some, in one walk; ValueError where one that goes is used."""
        gone = [op for op, new in replacements.items() if op not in new]
        for op in gone:
            if any(self.is_used(r) for r in op.results):
                raise ValueError(f"{op!r} still has users")
        for op in gone:
            op.operands = []
        self.operators = [new for op in self.operators for new in replacements.get(op, (op,))]

    def is_used(self, value: Value) -> bool:
        return bool(value.uses) or value in self._returned

    def is_output(self, value: Value) -> bool:
        return value in self._returned

    def use_count(self, value: Value) -> int:
        """Uses by operators plus uses as graph outputs."""
        return len(value.uses) + self._returned[value]

    def remove_dead(self) -> int:
        """Erases operators whose results nobody uses; returns how many."""
        kept: list[Operator] = []
        for op in reversed(self.operators):
            if any(self.is_used(r) for r in op.results):
                kept.append(op)
            else:
                op.operands = []
        removed = len(self.operators) - len(kept)
        self.operators = kept[::-1]
        return removed

    def sort(self) -> None:
        """Restores a topological order, keeping the present one where it already is."""
        done: set[int] = set()
        order: list[Operator] = []
        for root in self.operators:
            self._visit(root, done, order)
        self.operators = order

    def _visit(self, root: Operator, done: set[int], order: list[Operator]) -> None:
        stack = [(root, False)]
        while stack:
            op, ready = stack.pop()
            if ready:
                order.append(op)
            elif id(op) not in done:
                done.add(id(op))
                stack.append((op, True))
                producers = [v.producer for v in op.operands if v.producer is not None]
                stack.extend((p, False) for p in reversed(producers) if id(p) not in done)

    def values(self) -> Iterator[Value]:
        """Inputs, then every operator's results."""
        yield from self.inputs
        for op in self.operators:
            yield from op.results

    def clone(self) -> Graph:
        """A graph of new operators and values; attributes (constants too) are shared."""
        copy = Graph(self.name)
        mapping: dict[Value, Value] = {v: copy.add_input(v.type, v.name) for v in self.inputs}
        for op in self.operators:
            new = Operator(
                op.definition,
                [mapping[v] for v in op.operands],
                op.attributes,
                [r.type for r in op.results],
                op.loc,
            )
            for old_result, result in zip(op.results, new.results, strict=True):
                result.name = old_result.name
                mapping[old_result] = result
            copy.append(new)
        copy.set_outputs([mapping[v] for v in self.outputs], self.output_names)
        return copy
