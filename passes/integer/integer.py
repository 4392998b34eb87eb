"""Integers in a quantized network: float operators between dequantize and quantize become `q.` operators.

The rules serve models that arrive quantized and what the pass `quantize` makes
alike. They expect what fusion leaves: epilogues and `nn.map`.
"""

from __future__ import annotations

from secateur.ir.graph import Graph
from secateur.ir.rewrite import Rule, rewrite

from ..canonicalize.constants import fold_constants, holds_integers
from ..canonicalize.duplicates import merge_duplicates
from . import (
    bytes as integer_bytes,
)
from . import (
    elementwise as integer_elementwise,
)
from . import (
    linear as integer_linear,
)
from . import (
    moves as integer_moves,
)
from . import (
    tables,
)

# Signs first, so that all other rules see u8; quantized results before real ones, which would take their
# operators; what is left of a sign goes back into its quantize, or into a table, at last.
PHASES: tuple[tuple[Rule, ...], ...] = (
    integer_bytes.UNSIGNED,
    integer_bytes.COMPOSED + integer_bytes.MOVED,
    integer_bytes.CANCEL + integer_moves.RULES,
    integer_linear.QUANTIZED + integer_elementwise.QUANTIZED + tables.RULES,
    integer_linear.REAL + integer_elementwise.REAL,
    integer_bytes.SIGNED + integer_bytes.COMPOSED + integer_bytes.CANCEL,
)
RULES: tuple[Rule, ...] = tuple(dict.fromkeys(rule for phase in PHASES for rule in phase))

FOLDED_BYTES = 1 << 32


def make_integer(graph: Graph) -> None:
    """Applies the rules in place; constants that stay float are dequantized for good."""
    if not holds_integers(graph):
        return
    for rules in PHASES:
        rewrite(graph, rules)
        merge_duplicates(graph)
    graph.remove_dead()
    fold_constants(graph, FOLDED_BYTES, dequantize=True)
    graph.remove_dead()
