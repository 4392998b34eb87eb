"""Einsum, as transposes, reshapes, sums and matrix products; operands are joined two by two.

Each operand is brought to distinct labels (a repeated one is its diagonal), labels that no other operand and
no result has are summed at once, and a pair becomes one batched matrix product

    [shared and kept, only left, shared and summed] @ [shared and kept, shared and summed, only right]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..graph import Value
from ..types import extents
from .node import Handler, Node, NodeError


@dataclass(frozen=True)
class Term:
    """A tensor and the label of each axis."""

    value: Value
    labels: tuple[str, ...]

    @property
    def extents(self) -> dict[str, int]:
        return dict(zip(self.labels, self.value.type.shape, strict=True))


def einsum(node: Node) -> Value:
    operands, result = _parsed(node)
    terms = [_distinct(node, term) for term in operands]
    extents = _extents(terms)
    if unknown := [label for label in result if label not in extents]:
        raise NodeError(f"the result has '{unknown[0]}', no operand has")
    while len(terms) > 1:
        left, right, *rest = terms
        later = set(result).union(*(t.labels for t in rest))
        terms = [_product(node, left, right, later), *rest]
    return _arranged(node, _summed(node, terms[0], set(result)), result).value


# The equation ----------------------------------------------------------------------------------------


def _parsed(node: Node) -> tuple[list[Term], tuple[str, ...]]:
    """The operands with their labels, and the result's; `...` stands for numbered labels."""
    equation = "".join(node.string("equation").split())
    left, arrow, right = equation.partition("->")
    texts, values = left.split(","), node.all_inputs()
    if len(texts) != len(values):
        raise NodeError(f"equation '{equation[:80]}' has {len(texts)} operands, the node has {len(values)}")
    wide = max(_free_axes(t, v) for t, v in zip(texts, values, strict=True))
    terms = [Term(v, _labels(t, _free_axes(t, v))) for t, v in zip(texts, values, strict=True)]
    result = _labels(right, wide if "..." in right else 0) if arrow else _implied(terms, wide)
    if len(set(result)) != len(result):
        raise NodeError(f"the result of equation '{equation[:80]}' has a label twice")
    return terms, result


def _free_axes(text: str, value: Value) -> int:
    """How many axes `...` stands for."""
    named = text.replace("...", "", 1)
    free = value.type.rank - len(named)
    if not ((named.isalpha() and named.isascii()) or not named) or free < 0 or (free and "..." not in text):
        raise NodeError(f"labels '{text[:80]}' do not fit shape {extents(value.type.shape)}")
    return free


def _labels(text: str, free: int) -> tuple[str, ...]:
    before, dots, after = text.partition("...")
    if not all(c.isalpha() and c.isascii() for c in before + after):
        raise NodeError(f"labels '{text[:80]}' are not letters")
    return (*before, *(f".{free - i}" for i in range(free) if dots), *after)


def _implied(terms: Sequence[Term], free: int) -> tuple[str, ...]:
    """Without an arrow: what `...` stands for, then the labels that occur once, in order."""
    every = [label for term in terms for label in term.labels if not label.startswith(".")]
    return (*_labels("...", free), *sorted(label for label in every if every.count(label) == 1))


def _extents(terms: Sequence[Term]) -> dict[str, int]:
    """The extent of each label; only 1 may stand for another."""
    found: dict[str, int] = {}
    for term in terms:
        for label, extent in term.extents.items():
            known = found.setdefault(label, extent)
            if extent != known and 1 not in (extent, known):
                raise NodeError(f"label '{label}' is {known} and {extent}")
            found[label] = known if extent == 1 else extent
    return found


# Steps -----------------------------------------------------------------------------------------------


def _distinct(node: Node, term: Term) -> Term:
    """The diagonals of axes that have one label."""
    value, labels = term.value, list(term.labels)
    while twice := next((label for label in labels if labels.count(label) > 1), None):
        first = labels.index(twice)
        second = labels.index(twice, first + 1)
        value, labels = _diagonal(node, value, first, second), [*labels]
        del labels[second], labels[first]
        labels.append(twice)
    return Term(value, tuple(labels))


def _diagonal(node: Node, x: Value, first: int, second: int) -> Value:
    """Axes `first` and `second`, equal in extent, replaced by their diagonal as the last axis."""
    shape = x.type.shape
    n = shape[first]
    if shape[second] != n:
        raise NodeError(f"a label stands for extents {n} and {shape[second]} of one operand")
    rest = [a for a in range(len(shape)) if a not in (first, second)]
    moved = node.emit("transpose", [x], perm=(*rest, first, second))
    outer = tuple(shape[a] for a in rest)
    flat = node.emit("reshape", [moved], shape=(*outer, n * n))
    return node.emit(
        "slice", [flat], starts=(0,) * (len(outer) + 1), sizes=(*outer, n), steps=(*(1,) * len(outer), n + 1)
    )


def _summed(node: Node, term: Term, kept: set[str]) -> Term:
    """The sum over the labels that are not kept."""
    axes = tuple(i for i, label in enumerate(term.labels) if label not in kept)
    if not axes:
        return term
    total = node.emit("reduce_sum", [term.value], axes=axes, keepdims=False)
    return Term(total, tuple(label for label in term.labels if label in kept))


def _arranged(node: Node, term: Term, order: Sequence[str]) -> Term:
    """The axes in `order`, which has each label once; a label that is missing is an axis of extent 1."""
    present = [label for label in order if label in term.labels]
    perm = tuple(term.labels.index(label) for label in present)
    value = term.value if perm == tuple(range(len(perm))) else node.emit("transpose", [term.value], perm=perm)
    shape = tuple(term.extents.get(label, 1) for label in order)
    return Term(_reshaped(node, value, shape), tuple(order))


def _reshaped(node: Node, x: Value, shape: tuple[int, ...]) -> Value:
    return x if shape == x.type.shape else node.emit("reshape", [x], shape=shape)


def _product(node: Node, left: Term, right: Term, later: set[str]) -> Term:
    """The product of two operands, summed over what nobody needs later."""
    left = _summed(node, left, later | set(right.labels))
    right = _summed(node, right, later | set(left.labels))
    shared = [label for label in left.labels if label in right.labels]
    batch = [label for label in shared if label in later]
    inner = [label for label in shared if label not in later]
    rows = [label for label in left.labels if label not in shared]
    columns = [label for label in right.labels if label not in shared]
    left, right = _equal(node, left, right, inner)
    if not inner:
        a, b = (_arranged(node, t, _order(left, right)) for t in (left, right))
        return Term(node.emit("mul", [a.value, b.value]), a.labels)
    return _matmul(node, left, right, (batch, rows, inner, columns))


def _order(left: Term, right: Term) -> Sequence[str]:
    """The labels of both; in the order of the one that has them all, so that it need not move."""
    first, second = (right, left) if set(left.labels) < set(right.labels) else (left, right)
    return [*first.labels, *(label for label in second.labels if label not in first.labels)]


def _equal(node: Node, left: Term, right: Term, inner: Sequence[str]) -> tuple[Term, Term]:
    """Both with the larger extent of each summed label, where one operand has 1 and stands for many."""
    return _expanded(node, left, right, inner), _expanded(node, right, left, inner)


def _expanded(node: Node, term: Term, other: Term, inner: Sequence[str]) -> Term:
    wanted = {label: max(term.extents[label], other.extents[label]) for label in inner}
    shape = tuple(wanted.get(label, extent) for label, extent in term.extents.items())
    if shape == term.value.type.shape:
        return term
    return Term(node.emit("expand", [term.value], shape=shape), term.labels)


def _matmul(node: Node, left: Term, right: Term, groups: tuple[list[str], ...]) -> Term:
    batch, rows, inner, columns = groups
    a, b = _arranged(node, left, [*batch, *rows, *inner]), _arranged(node, right, [*batch, *inner, *columns])
    product = node.emit(
        "matmul", [_folded(node, a, (batch, rows, inner)), _folded(node, b, (batch, inner, columns))]
    )
    outer = product.type.shape[: len(batch)]
    shape = (*outer, *(a.extents[label] for label in rows), *(b.extents[label] for label in columns))
    return Term(_reshaped(node, product, shape), (*batch, *rows, *columns))


def _folded(node: Node, term: Term, groups: tuple[Sequence[str], Sequence[str], Sequence[str]]) -> Value:
    """The axes of the last two groups as one each."""
    batch, first, second = groups
    sizes = term.extents
    shape = (
        *(sizes[label] for label in batch),
        math.prod(sizes[label] for label in first),
        math.prod(sizes[label] for label in second),
    )
    return _reshaped(node, term.value, shape)


HANDLERS: dict[str, Handler] = {"Einsum": einsum}
