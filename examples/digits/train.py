"""Train ResNet-20 on scikit-learn's handwritten digits and write the example's files.

    pip install -e ".[train]"
    python examples/digits/train.py

Writes resnet20.onnx, heldout.npz and calibration.npz beside itself (or into --out).
"""

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from data import CLASSES, FOLDER, MEAN, STD, Digits, network_input, save_split
from export import INPUT, OUTPUT, resnet20_model, save_model
from network import ResNet20
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

HELDOUT_COUNT: Final = 360
CALIBRATION_COUNT: Final = 200
SPLIT_SEED: Final = 20
TARGET_ACCURACY: Final = 0.98
PAPER: Final = -MEAN / STD
"""White paper in the network's input: what an augmentation shifts in from outside."""
MAX_SHIFT: Final = 0.125
"""Shift in either direction as a part of the half side: 2 of 32 pixels."""
MAX_ROTATION: Final = 0.2
"""Rotation in either direction, in radians."""


def main() -> None:
    options = parse_options()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    training, heldout = split_digits()
    network = ResNet20(CLASSES)
    train(network, training, options)
    accuracy = measure_accuracy(network, heldout)
    print(f"held-out accuracy {accuracy:.2%} on {len(heldout.labels)} images")
    if accuracy < TARGET_ACCURACY:
        raise SystemExit(f"error: below {TARGET_ACCURACY:.0%}, nothing written; train longer (--epochs)")
    write_files(options.out, network, training, heldout)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train ResNet-20 on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.1, help="peak of the one-cycle schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER, help="an existing folder")
    options = parser.parse_args()
    if options.epochs < 1 or options.batch < 2 or options.threads < 1:
        parser.error("--epochs and --threads must be at least 1, --batch at least 2")
    if not options.out.is_dir():
        parser.error(f"--out: no such folder: {options.out}")
    return options


def split_digits() -> tuple[Digits, Digits]:
    """The training split and the held-out split, stratified by label."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.uint8)
    parts = train_test_split(
        images, labels, test_size=HELDOUT_COUNT, stratify=labels, random_state=SPLIT_SEED
    )
    return Digits(parts[0], parts[2]), Digits(parts[1], parts[3])


def train(network: ResNet20, training: Digits, options: argparse.Namespace) -> None:
    """SGD with Nesterov momentum under a one-cycle schedule; the last epoch's weights are kept."""
    images, labels = torch.from_numpy(network_input(training.images)), torch.from_numpy(training.labels)
    steps = len(labels) // options.batch
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=options.epochs * steps
    )
    for epoch in range(options.epochs):
        started = time.monotonic()
        order = torch.randperm(len(labels))[: steps * options.batch].view(steps, -1)
        losses = [train_step(network, optimizer, schedule, images[rows], labels[rows]) for rows in order]
        seconds = time.monotonic() - started
        print(f"epoch {epoch + 1}/{options.epochs}  loss {np.mean(losses):.4f}  {seconds:.1f} s", flush=True)


def train_step(
    network: ResNet20,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    images: Tensor,
    labels: Tensor,
) -> float:
    """One step on float32 [N, 3, 32, 32] and int64 [N]; returns the loss."""
    network.train()
    loss = cross_entropy(network(augment(images)), labels, label_smoothing=0.05)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    schedule.step()
    return loss.item()


def augment(images: Tensor) -> Tensor:
    """Rotate and shift each image a little; paper comes in from outside."""
    angle = (torch.rand(len(images)) * 2 - 1) * MAX_ROTATION
    shift = (torch.rand(len(images), 2, 1) * 2 - 1) * MAX_SHIFT
    rows = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    grid = affine_grid(torch.cat([rows, shift], dim=2), list(images.shape), align_corners=False)
    return grid_sample(images - PAPER, grid, align_corners=False) + PAPER


def measure_accuracy(network: ResNet20, digits: Digits) -> float:
    logits = infer(network, digits)
    return float(np.mean(logits.argmax(axis=1) == digits.labels))


def infer(network: ResNet20, digits: Digits) -> npt.NDArray[np.float32]:
    """Logits, float32 [N, 10], with the running statistics of the batch normalizations."""
    network.eval()
    with torch.no_grad():
        logits: Tensor = network(torch.from_numpy(network_input(digits.images)))
    return np.asarray(logits.numpy(), dtype=np.float32)


def write_files(folder: Path, network: ResNet20, training: Digits, heldout: Digits) -> None:
    """The model, the held-out split, and the head of the (already shuffled) training split."""
    parameters = {name: value.numpy() for name, value in network.state_dict().items()}
    model = resnet20_model(parameters)
    check_export(model, network, Digits(heldout.images[:4], heldout.labels[:4]))
    calibration = Digits(training.images[:CALIBRATION_COUNT], training.labels[:CALIBRATION_COUNT])
    save_model(model, folder / "resnet20.onnx")
    save_split(folder / "heldout.npz", heldout)
    save_split(folder / "calibration.npz", calibration)
    print(f"wrote resnet20.onnx, heldout.npz and calibration.npz into {folder}")


def check_export(model: onnx.ModelProto, network: ResNet20, digits: Digits) -> None:
    """Raises AssertionError unless ONNX's reference gives PyTorch's logits on these digits."""
    evaluator = ReferenceEvaluator(model)
    for image, expected in zip(network_input(digits.images), infer(network, digits), strict=True):
        (logits,) = evaluator.run([OUTPUT], {INPUT: image[None]})
        np.testing.assert_allclose(np.asarray(logits), expected[None], rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
