"""Elements that are nearly equal stand in another order where sums are rounded otherwise: no difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.interpreter import run

from .layers import Array, Arrays, Difference, Thresholds, difference, differences, named_values

PICKING = ("nn.top_k", "nn.argmax")
"""Their results say where elements are."""


def in_found_order(
    graph: Graph, reference: Arrays, found: Arrays, limits: Thresholds, inputs: Arrays
) -> list[Difference]:
    """The rows of `differences`, where picks may fall otherwise among elements that the limits call equal.

    What follows such picks is held against the interpreter, which goes on from those of `found`.
    """
    names, expected, picked = dict(named_values(graph)), dict(reference), list[int]()
    for number, op in enumerate(graph.operators):
        if op.name not in PICKING or not _known(op, names, expected, found):
            continue
        ranked, name = expected[names[op.operands[0]]], names[op.result]
        if _near(op, ranked, expected[name], found[name], limits):
            picked.append(number)
            expected |= _continued(graph, picked, inputs, found)
    rows = differences(graph, reference, found, limits)
    if not picked:
        return rows
    followed = differences(graph, expected, found, limits)
    return [
        replace(new, reordered=new.passed and not row.passed) for row, new in zip(rows, followed, strict=True)
    ]


def outputs_in_found_order(
    rows: list[Difference],
    graph: Graph,
    reference: Arrays,
    found: Arrays,
    limits: Thresholds,
    inputs: Arrays,
) -> list[Difference]:
    """`rows` of an artifact's outputs, which where one differs are held against what follows its own picks.

    `found` has the outputs, and for picks that are none, which nowhere are to be seen, those of the same
    network with all values shown.
    """
    if all(row.passed for row in rows):
        return rows
    followed = {row.value: row for row in in_found_order(graph, reference, found, limits, inputs)}
    return [followed.get(row.value, row) for row in rows]


def _known(op: Operator, names: Mapping[Value, str], reference: Arrays, found: Arrays) -> bool:
    """Whether what is ranked and what is picked are among the values of both."""
    ranked, pick = names.get(op.operands[0]), names.get(op.result)
    return ranked in reference and pick in reference and pick in found


def _near(op: Operator, ranked: Array, reference: Array, found: Array, limits: Thresholds) -> bool:
    """Whether picks differ, and only among elements that the limits call equal."""
    axis = op["axis"] % ranked.ndim
    if np.array_equal(reference, found) or ((found < 0) | (found >= ranked.shape[axis])).any():
        return False
    ordered = np.sort(found, axis) if found.ndim == ranked.ndim else found[None]
    if op.name == "nn.top_k" and (np.diff(ordered, axis=axis) == 0).any():
        return False
    there, here = (_taken(ranked, indices, axis) for indices in (reference, found))
    return difference("", "", there, here, limits).passed


def _taken(ranked: Array, indices: Array, axis: int) -> Array:
    whole = indices if indices.ndim == ranked.ndim else np.expand_dims(indices, axis)
    return np.take_along_axis(ranked, whole, axis)


def _continued(graph: Graph, picked: Sequence[int], inputs: Arrays, found: Arrays) -> dict[str, Array]:
    """What `graph` computes from what was found for its operators number `picked`, and that."""
    copy = graph.clone()
    names, given = dict(named_values(copy)), dict(inputs)
    picks = [copy.operators[number].result for number in picked]
    behind = set(picks)
    for op in copy.operators:
        if not behind.isdisjoint(op.operands):
            behind.update(op.results)
    wanted = {value: name for value, name in names.items() if value in behind}
    copy.set_outputs(wanted, wanted.values())
    for pick in picks:
        given[names[pick]] = found[names[pick]]
        copy.replace_value(pick, copy.add_input(pick.type, names[pick]))
    copy.remove_dead()
    return run(copy, given)
