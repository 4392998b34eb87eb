"""What cannot be pruned, in sentences: channels that stay for like reasons are told together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from secateur.ir.channels import Channels, Frozen

_SHOWN = 3
_QUOTED = re.compile(r"'[^']*'")


def frozen_sentences(channels: Channels) -> tuple[str, ...]:
    """A sentence a kind of reason: how many channels of which operators stay, and why."""
    kinds: dict[str, list[Frozen]] = {}
    for frozen in channels.frozen:
        kinds.setdefault(_QUOTED.sub("", frozen.reason), []).append(frozen)
    return tuple(_sentence(same) for same in kinds.values())


def _sentence(same: Sequence[Frozen]) -> str:
    count = sum(len(frozen.indices) for frozen in same)
    reasons = list(dict.fromkeys(frozen.reason for frozen in same))
    others = f" ({len(reasons) - 1} more like it)" if len(reasons) > 1 else ""
    places = _listed(list(dict.fromkeys(map(_place, same))))
    return f"{count} channel{'s' * (count != 1)} of {places}: {reasons[0]}{others}"


def _place(frozen: Frozen) -> str:
    maker = frozen.value.producer
    return (maker.loc if maker else "") or frozen.value.name or "unnamed"


def _listed(names: Sequence[str]) -> str:
    left = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {left} more" if left > 0 else "")
