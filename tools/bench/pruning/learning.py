"""What is left of the network is trained on, and judged."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import secateur
from secateur import Int8
from secateur.ir.graph import Graph
from secateur.ir.onnx_writer import to_onnx
from secateur.passes.fuse.fuse import Fuse
from secateur.train.loop import Training, accuracy
from secateur.train.network import Network
from secateur.train.recipe import Recipe
from secateur.train.soft import SoftPruning

from . import fashion
from .methods import Method
from .uniform import counts_of, whole

RATE = 0.02
"""The largest learning rate; with 0.05 three epochs end 0.2 points lower."""


def trained(method: Method, model: Path, epochs: int, seed: int, checkpoint: Path) -> Graph:
    """The pruned `model` after as many epochs; `checkpoint` lets an interrupted training go on."""
    recipe = Recipe(epochs=epochs, seed=seed, rate=RATE)
    network = Network(whole(fashion.MODEL if method.soft else model))
    soft = SoftPruning(network, counts_of(fashion.MODEL, model), method.soft) if method.soft else None
    Training(
        fashion.training(),
        recipe,
        augment=fashion.augmentation(),
        teacher=Network(Fuse().run(whole(fashion.MODEL))) if method.taught else None,
        before_epoch=(soft,) if soft else (),
        checkpoint=checkpoint,
    ).fit(network)
    return soft.remove() if soft else network.graph()


def judged(graph: Graph) -> float:
    """Accuracy on the test images."""
    return accuracy(Network(graph), fashion.test())


def judged_in_8_bits(graph: Graph) -> float:
    """Accuracy on the test images of the network in 8 bits, calibrated as the example is."""
    with TemporaryDirectory() as folder:
        model, artifact = Path(folder) / "model.onnx", Path(folder) / "model.so"
        model.write_bytes(to_onnx(graph).SerializeToString())
        eight = Int8(calibration=str(fashion.CALIBRATION), layers="all")
        secateur.compile(model, artifact, "host", quantize=eight)
        with secateur.load(artifact) as session:
            images, labels = fashion.test().images.numpy(), fashion.test().labels.numpy()
            name = session.inputs[0].name
            answers = [int(np.argmax(next(iter(session.run({name: x[None]}).values())))) for x in images]
    return float((np.array(answers) == labels).mean())
