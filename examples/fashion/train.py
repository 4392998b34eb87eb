"""Train the example's networks on Fashion-MNIST by `secateur.train` and write its files.

    pip install -e ".[train]"
    python examples/fashion/train.py resnet20
    python examples/fashion/train.py mobilenet

Writes NAME.onnx and calibration.npz beside itself (or into --out). What is reached after each epoch stands
in NAME.pt there: an interrupted run goes on from it when it is started again.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from data import BLACK, FOLDER, Images, load_test, load_training, network_input
from networks import NETWORKS
from onnx import numpy_helper
from torch import Tensor
from torch.nn.functional import interpolate

from secateur.ir.graph import Graph, constant_of
from secateur.ir.onnx_reader import read_model
from secateur.ir.support.atomic import write_whole
from secateur.tools.progress import progress
from secateur.train.data import Augmentation, Labelled
from secateur.train.loop import Epoch, Training, accuracy
from secateur.train.network import Network
from secateur.train.recipe import Recipe

HELD_OUT: Final = 2000
"""Training images that are not learned from: by these choices are made, never by the test set."""
CALIBRATION: Final = 200
SMALL_SIDE: Final = 20
TARGET: Final = {"resnet20": 0.935, "mobilenet": 0.92}
DECAY: Final = {"resnet20": 5e-4, "mobilenet": 1e-4}


@dataclass(frozen=True)
class Growing:
    """Small images (half the work) in the first epochs, whole ones afterwards; all moved and turned."""

    small_epochs: int
    moves: Augmentation = field(default_factory=lambda: Augmentation(shift=2, flip=True, fill=BLACK))

    def __call__(self, images: Tensor, random: torch.Generator, epoch: int) -> Tensor:
        if epoch < self.small_epochs:
            images = interpolate(images, size=(SMALL_SIDE,) * 2, mode="bilinear", antialias=True)
        return self.moves(images, random, epoch)


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    training, held_out = labelled(load_training()).split(HELD_OUT, options.seed)
    model = NETWORKS[options.network](options.seed)
    network = Network(read_model(model))
    train(network, training, held_out, options)
    reached = accuracy(network, labelled(load_test()))
    print(f"accuracy {reached:.2%} on the 10,000 test images")
    if reached < TARGET[options.network]:
        raise SystemExit(
            f"error: below {TARGET[options.network]:.1%}, nothing written; train longer (--epochs)"
        )
    write_files(options.out, options.network, model, network.graph(), training)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a network on Fashion-MNIST.")
    parser.add_argument("network", choices=tuple(NETWORKS))
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--small-epochs", type=int, default=6, help="of these, how many on smaller images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER, help="an existing folder")
    options = parser.parse_args()
    if options.epochs < 1 or options.threads < 1:
        parser.error("--epochs and --threads must be at least 1")
    if not options.out.is_dir():
        parser.error(f"--out: no such folder: {options.out}")
    return options


def labelled(images: Images) -> Labelled:
    return Labelled(torch.from_numpy(network_input(images.images)), torch.from_numpy(images.labels))


def train(network: Network, training: Labelled, held_out: Labelled, options: argparse.Namespace) -> None:
    recipe = Recipe(
        epochs=options.epochs, rate=0.2, decay=DECAY[options.network], smoothing=0.05, seed=options.seed
    )
    with progress() as draw:
        Training(
            training,
            recipe,
            held_out,
            augment=Growing(options.small_epochs),
            after_epoch=(report,),
            checkpoint=options.out / f"{options.network}.pt",
            progress=draw,
        ).fit(network)


def report(_network: Network, epoch: Epoch) -> None:
    print(f"epoch {epoch.number + 1}  loss {epoch.loss:.4f}  held-out {epoch.accuracy:.2%}", file=sys.stderr)


def write_files(folder: Path, name: str, model: onnx.ModelProto, graph: Graph, training: Labelled) -> None:
    """The model with what was learned, and some images of the training set for choosing ranges."""
    write_whole(folder / f"{name}.onnx", learned(model, graph).SerializeToString(deterministic=True))
    few = training.part(torch.arange(CALIBRATION))
    np.savez_compressed(folder / "calibration.npz", input=few.images.numpy(), labels=few.labels.numpy())
    print(f"wrote {name}.onnx and calibration.npz into {folder}")


def learned(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """The model that the graph was read from, with the graph's constants; of a Gemm they lie transposed."""
    arrays = {v.name: constant_of(v) for v in graph.values() if v.is_constant}
    dense = next(op for op in graph.operators if op.name == "nn.matmul")
    weights = constant_of(dense.operands[1])
    assert weights is not None
    arrays["fc.weight"] = weights.T
    for tensor in model.graph.initializer:
        array = arrays[tensor.name]
        assert array is not None
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    main()
