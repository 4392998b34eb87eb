"""A trained network, pruned without training: what repair is worth on images that it never saw."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.framework.manager import PassManager
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.remove import remove
from secateur.passes.prune.repair.repair import repair
from tests.examples.test_digits import MODEL, data
from tests.passes.prune.calibrated import answers
from tests.passes.texts import Array
from tests.sampled import sampled

SHARE = 0.2
"""Of each group: 1.5 times fewer multiplications."""


def digits(images: Array) -> Data:
    return Data([{"image": image[None]} for image in data.network_input(images)])


@pytest.fixture(scope="module")
def network() -> Graph:
    return PassManager((Canonicalize(),)).run(read_model(MODEL)).graph


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(["l1", "reconstruction"], ["l1"]))
def test_repair_lowers_the_error_on_held_out_digits_by_far(name: str, network: Graph) -> None:
    """Measured: 100 times and more; what the network answers is what it answered."""
    seen, unseen = digits(data.load_calibration().images[:40]), digits(data.load_heldout().images[:20])
    ranked = rankings(name, Evidence(network, find_channels(network).groups, seen))
    gone = {group: r.gone(round(SHARE * r.size)).tolist() for group, r in ranked.items()}
    pruned = remove(network, gone)
    macs = [sum(op.macs for op in graph.operators) for graph in (network, pruned)]
    assert macs[0] / macs[1] > 1.45
    wanted = answers(network, unseen)
    got = [answers(g, unseen) for g in (pruned, repair(network, pruned, gone, seen))]
    errors = [float(np.square(wanted - g).sum()) for g in got]
    assert errors[1] < errors[0] / 20
    same = [int((wanted.argmax(axis=-1) == g.argmax(axis=-1)).sum()) for g in got]
    assert same[0] < 15
    assert same[1] >= 19
