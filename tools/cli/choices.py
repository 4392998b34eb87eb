"""What selection chose for every operator, and what else it could have: for `inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..report import duration

if TYPE_CHECKING:
    from secateur.ir.choice import CostTable
    from secateur.ir.graph import Graph, Operator
    from secateur.passes.framework.base import Pass
    from secateur.passes.select.reasons import Reason
    from secateur.passes.select.select import Select

_TIE = 1e-9  # of the choice's time: what differs by less is as fast
NOTE = (
    "time: of {timed_on}, conversions of layouts apart\n"
    "next: the best other primitive, the rest of the plan as it is, and the time of\n"
    "      conversions that it would add or save"
)


@dataclass
class Choices:
    """A pass observer that notes why `select` chose what it chose."""

    reasons: list[Reason] = field(default_factory=list)
    costs: CostTable | None = None
    _graph: Graph | None = None
    _select: Select | None = None

    def before(self, _index: int, step: Pass, graph: Graph) -> None:
        if step.name == "select":
            self._graph = graph  # selection works on a copy

    def after(self, _index: int, step: Pass, graph: Graph) -> None:
        from secateur.passes.select.reasons import reasons
        from secateur.passes.select.select import Select

        if isinstance(step, Select) and self._graph is not None:
            self._select, self.costs = step, step.allowed(self._graph)
            self.reasons = reasons(self._graph, graph, self.costs)

    def rows(self, operators: Sequence[Operator]) -> list[dict[str, Any]]:
        """What is known of each operator of the graph after any later passes; nothing where there is no time.

        Later passes add conversions and copies of outputs, and keep the order of all others.
        """
        waiting = iter(self.reasons)
        return [self._row(op, waiting) for op in operators]

    def _row(self, op: Operator, waiting: Iterator[Reason]) -> dict[str, Any]:
        if self.costs is not None and op.name == "prim.relayout":
            source = op.operands[0].type
            return {"seconds": self.costs.conversion(source, source.layout, op.result.type.layout)}
        reason = next(waiting, None)
        return {} if reason is None else _data(reason, self._select)


def _data(reason: Reason, step: Select | None) -> dict[str, Any]:
    found: dict[str, Any] = {"seconds": reason.choice.seconds, "noise": reason.choice.noise}
    found |= {"next": next_text(reason, step), "runner_up": None}
    if reason.runner_up is not None:
        other = reason.runner_up
        found["runner_up"] = {
            "primitive": other.primitive,
            "layouts": [*(x.name for x in other.operand_layouts), "->", other.result_layout.name],
            "workspace": other.workspace,
            "seconds": other.seconds,
            "noise": other.noise,
            "conversion_seconds": reason.conversions,
        }
    return found


def next_text(reason: Reason, step: Select | None = None) -> str | None:
    """The runner-up: `direct 1.55 ms, conversions +20.00 us`; None where there is none.

    One that is faster in all is kept out by a limit of the pass `step`.
    """
    if reason.runner_up is None:
        return None
    words = f"{reason.runner_up.primitive} {duration(reason.runner_up.seconds)}"
    tie = _TIE * reason.choice.seconds
    if abs(reason.conversions) > tie:
        sign = "+" if reason.conversions > 0 else "-"
        words += f", conversions {sign}{duration(abs(reason.conversions))}"
    return f"{words}: faster, but {_kept_out_by(reason, step)}" if reason.loss < -tie else words


def _kept_out_by(reason: Reason, step: Select | None) -> str:
    assert reason.runner_up is not None, "faster than the choice"
    noisy = step is not None and step.sqnr is not None and reason.runner_up.noise > reason.choice.noise
    lean = step is None or step.memory is not None or step.seconds is not None
    words = (["takes more memory"] if lean else []) + (["adds more noise"] if noisy else [])
    return " or ".join(words) or "does not fit the rest"
