"""How far a quantized network's answers are from the real ones, on a few images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import ModelNote, SecateurError
from secateur.ir.graph import Graph

from .calibration.executor import Array, Arrays, Executor

Labelled = Iterable[tuple[Arrays, NDArray[np.int64]]]


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); inf without noise, -inf where the noise is not finite."""
    if not math.isfinite(noise):
        return -math.inf
    return math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-300) / noise)


def power(array: Array) -> float:
    """The sum of squares."""
    return float(np.square(array, dtype=np.float64).sum())


def outputs(graph: Graph, batches: Iterable[Arrays], execute: Executor) -> list[list[Array]]:
    """The outputs for each batch."""
    return list(execute(graph, batches, graph.outputs))


def output_sqnr(real: Sequence[Sequence[Array]], quantized: Sequence[Sequence[Array]]) -> float:
    """The ratio, in dB, of real outputs to what moved them, over all batches and f32 outputs.

    Infinities and NaNs that are the same in both are no noise, and no signal.
    """
    signal = noise = 0.0
    for wanted, got in zip(real, quantized, strict=True):
        for a, b in zip(wanted, got, strict=True):
            if a.dtype.kind == "f":
                differ = ~np.isclose(a, b, rtol=0, atol=0, equal_nan=True)
                signal += power(a[np.isfinite(a)])
                noise += power(b[differ].astype(np.float64) - a[differ])
    return decibels(signal, noise)


def check_labels(labels: NDArray[np.int64], classes: int) -> None:
    """SecateurError where one is no index of so many classes."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise SecateurError(
            f"label {wrong[0]} is no class: the network tells {classes} apart, which are 0 to {classes - 1}"
        )


def accuracy(graph: Graph, labelled: Labelled, execute: Executor) -> float:
    """The share of images, in percent, whose largest element of the first output is at their label.

    A ModelNote says so where there are others. SecateurError where there is no image, or a label that no
    element stands for.
    """
    if len(graph.outputs) > 1:
        name, count = graph.output_names[0], len(graph.outputs)
        warnings.warn(f"accuracy goes by '{name}', the first of {count} outputs", ModelNote, stacklevel=2)
    right = images = 0
    for batch, labels in labelled:
        ((scores, *_),) = execute(graph, [batch], graph.outputs)
        scores = scores.reshape(len(labels), -1)
        check_labels(labels, scores.shape[1])
        right += int((scores.argmax(axis=1) == labels).sum())
        images += len(labels)
    if not images:
        raise SecateurError("the accuracy cannot be measured: there is not one labelled image")
    return 100 * right / images
