"""How a network is pruned: each option declared once, for the pass, Python and the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from secateur.ir.errors import SecateurError
from secateur.ir.support.options import Help, documented, settle
from secateur.ir.support.units import read_room, read_time

Space = Literal["auto", "standard", "aggressive"]
Criterion = Literal[
    "auto", "l1", "l2", "fpgm", "batch_norm", "output_error", "reconstruction", "dependence", "taylor"
]
BUDGETS = ("macs", "latency", "size", "memory", "loss")


_READERS = {
    "latency": (read_time, "time such as 20ms"),
    "size": (read_room, "size such as 4MiB"),
    "memory": (read_room, "size such as 4MiB"),
}


def _read(name: str, text: str) -> float:
    read, wanted = _READERS[name]
    limit = read(text)
    if limit is None:
        raise SecateurError(f"{name} {text} is no {wanted}, and no share such as 50%")
    return limit


@documented
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a pruned network may cost, and how its channels are judged.

    A limit is given, on cost or on the importance lost, or `max_drop`, or both. Two of `macs`, `latency` and
    `size` may be limited at once, and `memory` with them.
    """

    macs: Annotated[
        float | None, Help("Multiplications at most, as a share of the model's.", "PERCENT", "share")
    ] = None
    latency: Annotated[
        float | str | None, Help("Time on one core at most, or a share of the model's.", "TIME", "time")
    ] = None
    size: Annotated[
        int | float | str | None, Help("Weights at most, or a share of the model's.", "SIZE", "room")
    ] = None
    memory: Annotated[
        int | float | str | None,
        Help("Arena of the plan of least memory at most, or a share of the model's.", "SIZE", "room"),
    ] = None
    loss: Annotated[
        float | None,
        Help("Importance lost at most, as a share of all there is.", "PERCENT", "share"),
    ] = None
    max_drop: Annotated[
        float | None,
        Help(
            "Labelled images lose at most this: the smallest network within it, or with another limit "
            "a check.",
            "POINTS",
        ),
    ] = None
    criterion: Annotated[
        Criterion,
        Help("What makes a channel important; auto is reconstruction with data, else l2."),
    ] = "auto"
    space: Annotated[
        Space,
        Help(
            "aggressive also takes residual sums apart, so that each block keeps channels of its own; auto "
            "tries both and takes the one that loses less (standard without a limit on cost)."
        ),
    ] = "auto"
    blocks: Annotated[
        bool, Help("Residual blocks may go whole, to their skip; what that loses is judged on data.")
    ] = True
    repair: Annotated[bool, Help("Solve for the weights behind what is removed, on the data.")] = True
    keep: Annotated[Sequence[str], Help("ONNX nodes to leave whole.", "NAMES")] = ()

    def __post_init__(self) -> None:
        for name in _READERS:
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, _read(name, text))
        settle(self)
        for name in (*BUDGETS, "max_drop"):
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit < math.inf:
                raise SecateurError(f"{name} must be a number from 0 on, is {limit:g}")
        sums = [name for name in self.budget if name != "memory"]
        if len(sums) > 2 or ("loss" in sums and len(self.budget) > 1):
            raise SecateurError(
                f"{' and '.join(self.budget)} are given; pruning keeps two of macs, latency and size "
                "at a time, and memory with them; loss alone"
            )

    def check(self) -> None:
        """SecateurError where nothing limits what a pruned network may cost."""
        if not self.budget and self.max_drop is None:
            known = ", ".join((*BUDGETS, "max_drop"))
            raise SecateurError(f"what a pruned network may cost is not said; give one of {known}")

    @property
    def budget(self) -> dict[str, float]:
        """The limits that are given, by their names."""
        return {name: getattr(self, name) for name in BUDGETS if getattr(self, name) is not None}

    def criterion_with(self, has_data: bool) -> str:
        """The criterion, where there is calibration data or is not."""
        if self.criterion != "auto":
            return self.criterion
        return "reconstruction" if has_data else "l2"


@dataclass(frozen=True, kw_only=True)
class Options(Recipe):
    """Of the pass: without `remove` it only decides what goes."""

    remove: bool = True
