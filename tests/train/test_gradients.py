"""Gradients by the constants of a graph: those of finite differences, for each batch."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value
from secateur.ir.interpreter import run

from . import tiny

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-train installs it")

from secateur.train.data import Labelled  # noqa: E402
from secateur.train.gradients import gradients  # noqa: E402


def named(graph: Graph, name: str) -> Value:
    return next(v for v in graph.values() if v.name == name)


def loss(graph: Graph, images: tiny.Array, labels: tiny.Array) -> float:
    """The mean cross entropy, by the interpreter."""
    rows = np.concatenate([run(graph, {"input": x[None]})["output"] for x in images]).astype(np.float64)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return float(-rows[np.arange(len(labels)), labels].mean())


def moved(graph: Graph, name: str, by: tiny.Array) -> Graph:
    copy = graph.clone()
    op = named(copy, name).producer
    assert op is not None
    op.attributes = {"value": (op["value"] + by).astype(np.float32)}
    return copy


@pytest.mark.parametrize("name", ["conv1.weight", "bn2.weight", "fc.bias"])
def test_gradients_are_those_of_the_mean_loss(name: str) -> None:
    graph, (images, labels) = tiny.graph(), tiny.images(12)
    value = named(graph, name)
    found = list(gradients(Labelled(torch.from_numpy(images), torch.from_numpy(labels)), 6)(graph, [value]))
    assert [[g.shape for g in batch] for batch in found] == [[value.type.shape]] * 2
    by = 0.001 * np.random.default_rng(0).standard_normal(value.type.shape)
    for part, (gradient,) in zip((slice(0, 6), slice(6, 12)), found, strict=True):
        above, below = (loss(moved(graph, name, s * by), images[part], labels[part]) for s in (1, -1))
        assert (above - below) / 2 == pytest.approx(float((gradient * by).sum()), rel=0.05, abs=1e-6)


def test_labels_beyond_the_classes_are_refused() -> None:
    graph, (images, _) = tiny.graph(), tiny.images(2)
    data = Labelled(torch.from_numpy(images), torch.tensor([0, -1]))
    with pytest.raises(SecateurError, match="label -1 is no class"):
        list(gradients(data)(graph, [named(graph, "conv1.weight")]))


def test_what_is_not_learned_has_no_gradient() -> None:
    graph, (images, labels) = tiny.graph(), tiny.images(2)
    data = Labelled(torch.from_numpy(images), torch.from_numpy(labels))
    with pytest.raises(SecateurError, match=r"no gradient by bn1\.running_mean: not a learned constant"):
        list(gradients(data)(graph, [named(graph, "bn1.running_mean")]))
