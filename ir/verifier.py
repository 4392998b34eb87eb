"""Checks that a graph obeys the IR's rules, and says where it does not.

The numbered rules:
  G1 every operand is defined before its use; nothing is defined twice
  G2 operand count, attributes and result types fit the operator's declaration
  G3 every output is a value of the graph, and output and input names are unique
  G4 uses agree with the operands
  G5 the stage's spec allows the operator (see `ir.stages`)
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import VerifyError
from .graph import Graph, Operator, Value
from .opdef import TypeRuleError
from .printer import Printer
from .stages import Stage
from .types import TensorType


def neighbourhood(graph: Graph, op: Operator, radius: int = 2) -> str:
    """The operator's text between its neighbours, marked with an arrow."""
    printer = Printer()
    texts = [(other, printer.operator(other)) for other in graph.operators]
    at = next((i for i, (other, _) in enumerate(texts) if other is op), 0)
    window = texts[max(0, at - radius) : at + radius + 1]
    return "\n".join(f"{'-> ' if other is op else '   '}{text[:160]}" for other, text in window)


def _error(graph: Graph, op: Operator, rule: str, message: str) -> VerifyError:
    return VerifyError(f"{rule}: {op.called}: {message}\n{neighbourhood(graph, op)}")


def _verify_types(graph: Graph, op: Operator) -> None:
    try:
        inferred = op.definition.result_types([v.type for v in op.operands], op.attributes)
    except TypeRuleError as error:
        raise _error(graph, op, "G2", str(error)) from None
    actual = [r.type for r in op.results]
    if not all(a.fits(i) for a, i in zip(actual, inferred, strict=True)):
        raise _error(
            graph, op, "G2", f"result is {_types(actual)}, the operator's rule gives {_types(inferred)}"
        )


def _types(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def _uses_agree(value: Value) -> bool:
    """Whether every use of a value is an operand."""
    return all(user.reads(value, at) for user, at in value.uses)


def _verify_operator(graph: Graph, op: Operator, defined: set[Value], stage: Stage | None) -> None:
    for at, value in enumerate(op.operands):
        if value not in defined:
            raise _error(graph, op, "G1", f"operand {value!r} is not defined above")
        if (op, at) not in value.uses:
            raise _error(graph, op, "G4", f"uses of {value!r} do not tell this one")
    if any(r in defined or r.producer is not op for r in op.results):
        raise _error(graph, op, "G1", "a result is defined twice")
    if not all(map(_uses_agree, op.results)):
        raise _error(graph, op, "G4", "a use of its result is no operand")
    _verify_types(graph, op)
    refusal = stage.refuses(op) if stage else None
    if refusal:
        raise _error(graph, op, "G5", refusal)


def verify(graph: Graph, stage: Stage | None = None) -> None:
    """Raises VerifyError at the first rule that the graph breaks; with `stage`, its spec too."""
    defined: set[Value] = set(graph.inputs)
    for op in graph.operators:
        _verify_operator(graph, op, defined, stage)
        defined.update(op.results)
    if not graph.outputs or len(graph.outputs) != len(graph.output_names):
        raise VerifyError("G3: the graph needs outputs, each with a name")
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        if value not in defined:
            raise VerifyError(f"G3: output '{name}' is not a value of the graph")
    _verify_names("input", [v.name for v in graph.inputs])
    _verify_names("output", graph.output_names)


def _verify_names(kind: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise VerifyError(f"G3: {kind} name {', '.join(twice)} is used twice")
