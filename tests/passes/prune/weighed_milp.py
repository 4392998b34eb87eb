"""The oracle for `weighing.py`: the same problem as a mixed-integer program, for SciPy's HiGHS."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix

from secateur.passes.prune.weighing import Pair


def least_cost(sizes: Sequence[int], tables: Sequence[Pair], limit: float) -> float | None:
    """The least cost within the limit; None where nothing keeps it.

    One binary for each value of each variable and one (continuous) for each entry of each table, which
    sum up to those of their variables' values.
    """
    at, starts = 0, []
    for size in sizes:
        starts.append(at)
        at += size
    entries = [list(product(*(range(sizes[v]) for v in t.variables))) for t in tables]
    total = at + sum(map(len, entries))
    cost, toll, upper = np.zeros(total), np.zeros(total), np.ones(total)
    rows: list[tuple[list[int], list[float], float]] = [
        (list(range(s, s + size)), [1.0] * size, 1.0) for s, size in zip(starts, sizes, strict=True)
    ]
    for table, states in zip(tables, entries, strict=True):
        for k, state in enumerate(states):
            fine = np.isfinite(table.cost[state]) and np.isfinite(table.toll[state])
            cost[at + k], toll[at + k] = (table.cost[state], table.toll[state]) if fine else (0.0, 0.0)
            upper[at + k] = float(fine)
        for i, v in enumerate(table.variables):
            for value in range(sizes[v]):
                of = [at + k for k, state in enumerate(states) if state[i] == value]
                rows.append(([*of, starts[v] + value], [*([1.0] * len(of)), -1.0], 0.0))
        if not table.variables:
            rows.append(([at], [1.0], 1.0))
        at += len(states)
    matrix = lil_matrix((len(rows) + 1, total))
    right = np.zeros(len(rows) + 1)
    for r, (columns, factors, wanted) in enumerate(rows):
        matrix[r, columns], right[r] = factors, wanted
    matrix[len(rows)] = toll
    lower, upper_rows = right.copy(), right.copy()
    lower[-1], upper_rows[-1] = -np.inf, limit
    whole = np.zeros(total)
    whole[: sum(sizes)] = 1
    found = milp(
        cost, constraints=LinearConstraint(matrix.tocsr(), lower, upper_rows), integrality=whole,
        bounds=Bounds(0, upper), options={"mip_rel_gap": 0.0},
    )  # fmt: skip
    return float(found.fun) if found.status == 0 else None
