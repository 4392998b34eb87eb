"""The structured pruning of `onnxsim`: the same share of every layer that it can follow, by L2 norms.

It takes convolutions whose batch normalizations are folded.
"""

from __future__ import annotations

from pathlib import Path

import onnx

import secateur

from .ask import Ask, macs

FINEST = 256


def pruned_by_onnxsim(model: Path, ask: Ask, output: Path) -> None:
    """Writes the network at the smallest share of channels that keeps the limit."""
    import onnxsim

    whole, _ = onnxsim.simplify(onnx.load(model))
    every = macs(secateur.read(model))
    for step in range(1, FINEST):
        found = onnxsim.apply_structured_pruning(whole, step / FINEST)
        output.write_bytes(found.SerializeToString())
        if macs(secateur.read(output)) <= ask.share * every:
            return
    raise ValueError(f"no share leaves {ask.share:.0%} of the multiplications")
