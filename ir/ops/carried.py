"""Skip connections as rows of filters, without the filters: channels that are carried, and sums of channels.

`passes/fuse` writes residual additions in these two, so that what a block adds to a channel and
what it carries through can be pruned apart; it lowers them again before primitives are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..opdef import Attribute, OpDef, Signature
from ..ranges import broken, shared_out
from ..types import TensorType
from .carried_axes import CARRY, CHANNEL_SUM
from .rows import register
from .rules import numeric, require, same_dtype


def _with_channels(x: TensorType, channels: int) -> TensorType:
    return TensorType((x.shape[0], channels, *x.shape[2:]), x.dtype)


def _need_ranges(ranges: Sequence[int], extent: int) -> None:
    reason = broken(ranges, extent)
    require(reason is None, reason or "")


def _carry(sig: Signature) -> Sequence[TensorType]:
    x, ranges = sig.types[0], sig["ranges"]
    require(x.rank >= 2, f"{x} has no channels")
    _need_ranges(ranges, x.shape[1])
    return [_with_channels(x, sum(ranges[1::2]) - sum(ranges[::2]))]


register(
    OpDef(
        "nn.carry",
        "Channels of x in the order of ranges: what identity filters would give.",
        ("x",),
        _carry,
        (Attribute("ranges", "ints", doc="begin and end of each range of channels"),),
        moves=True,
        axes=CARRY,
    )
)


def _channel_sum(sig: Signature) -> Sequence[TensorType]:
    require(len(sig.types) > 0, "nothing to add")
    first, channels, ranges = sig.types[0], sig["channels"], sig["ranges"]
    require(first.rank >= 2, f"{first} has no channels")
    rest = {(t.rank, t.shape[0], *t.shape[2:]) for t in sig.types}
    require(len(rest) == 1, f"shapes {', '.join(map(str, sig.types))} differ outside channels")
    require(channels >= 0, f"{channels} channels")
    _need_ranges(ranges, channels)
    counts = [t.shape[1] for t in sig.types]
    total = sum(ranges[1::2]) - sum(ranges[::2])
    require(total == sum(counts), f"ranges of {total} channels for operands of {sum(counts)}")
    for place, part in enumerate(shared_out(ranges, counts)):
        require(len(set(part)) == len(part), f"operand {place} is added twice to one channel")
    same_dtype(sig)
    numeric(first)
    return [_with_channels(first, channels)]


register(
    OpDef(
        "nn.channel_sum",
        "Sum in which each operand covers some channels of the result; what none covers is 0.",
        ("xs*",),
        _channel_sum,
        (
            Attribute("channels", "int", doc="channels of the result"),
            Attribute("ranges", "ints", doc="where the operands' channels go, one operand after another"),
        ),
        axes=CHANNEL_SUM,
    )
)
