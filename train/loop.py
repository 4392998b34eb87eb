"""The training loop: plain epochs over images in memory, seeded, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..ir.errors import SecateurError
from ..ir.support.progress import Progress, silent
from ..passes.quantize.measure import check_labels
from . import checkpoint
from .data import Augmentation, Labelled
from .network import Network
from .recipe import Recipe

EVALUATED_AT_ONCE = 500

BeforeEpoch = Callable[[Network, int], object]
AfterEpoch = Callable[[Network, "Epoch"], object]
Augment = Callable[[Tensor, torch.Generator, int], Tensor]
"""Images of a batch, what to draw from, and the number of the epoch, to the images to learn from."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: the mean loss, and the accuracy on held-out images (NaN without any)."""

    number: int
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained with: images, a recipe, and what goes with them.

    `teacher` gives answers to learn from beside the labels (the network before it was pruned, say).
    `before_epoch` is called with the network and the epoch's number, from 0, `after_epoch` with what the
    epoch came to. `checkpoint` is the file that holds the state after each epoch; where it is there
    already, training goes on from it. `augment` must have a `repr` that says all it does.
    """

    images: Labelled
    recipe: Recipe = field(default_factory=Recipe)
    held_out: Labelled | None = None
    augment: Augment = field(default_factory=Augmentation)
    teacher: Network | None = None
    before_epoch: tuple[BeforeEpoch, ...] = ()
    after_epoch: tuple[AfterEpoch, ...] = ()
    checkpoint: Path | None = None
    progress: Progress = silent

    def fit(self, network: Network) -> list[Epoch]:
        """Trains the network in place; SecateurError where images or checkpoint do not fit."""
        if len(self.images) < self.recipe.batch:
            raise SecateurError(f"{len(self.images)} images are too few: a batch is {self.recipe.batch}")
        _only(network)
        return _Run(self, network).epochs()


def accuracy(network: Network, data: Labelled) -> float:
    """The share of images whose label has the largest output."""
    return sum(int((y == x).sum()) for x, y in _answers(network, data)) / max(1, len(data))


def _answers(network: Network, data: Labelled) -> Iterator[tuple[Tensor, Tensor]]:
    """Answered and given classes, batch by batch."""
    network.eval()
    with torch.no_grad():
        for images, labels in zip(
            data.images.split(EVALUATED_AT_ONCE), data.labels.split(EVALUATED_AT_ONCE), strict=True
        ):
            yield logits_of(network, images).argmax(1), labels


def logits_of(network: Network, images: Tensor) -> Tensor:
    """The only output, N x classes."""
    name, result = _only(network)
    found: Tensor = network({name: images.contiguous(memory_format=_format(images))})[result]
    return found.flatten(1)


def check_classes(network: Network, data: Labelled) -> None:
    """SecateurError where a label stands for no element of the network's answer for an image."""
    _only(network)
    answer = network.structure.outputs[0].type
    check_labels(data.labels.numpy(), answer.elements // answer.shape[0])


def _format(images: Tensor) -> torch.memory_format:
    """Channels last where there are two spatial axes: convolutions are quicker so."""
    return torch.channels_last if images.ndim == 4 else torch.contiguous_format


def _only(network: Network) -> tuple[str, str]:
    graph = network.structure
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise SecateurError(
            f"a network with one input and one output is trained on labels, this one has "
            f"{len(graph.inputs)} and {len(graph.outputs)}"
        )
    return graph.inputs[0].name, graph.output_names[0]


@dataclass(eq=False)
class _Run:
    """One call of `fit`."""

    training: Training
    network: Network
    done: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        recipe = self.training.recipe
        for data in filter(None, (self.training.images, self.training.held_out)):
            check_classes(self.network, data)
        self.random = torch.Generator().manual_seed(recipe.seed)
        self.steps = len(self.training.images) // recipe.batch
        self.optimizer = torch.optim.SGD(
            _parameter_groups(self.network, recipe), lr=recipe.rate, momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
        )  # fmt: skip

    def epochs(self) -> list[Epoch]:
        self._resume()
        for number in range(len(self.done), self.training.recipe.epochs):
            for hook in self.training.before_epoch:
                hook(self.network, number)
            loss = self._epoch(number)
            held = self.training.held_out
            reached = float("nan") if held is None else accuracy(self.network, held)
            self.done.append(Epoch(number, loss, reached))
            self._save()
            for told in self.training.after_epoch:
                told(self.network, self.done[-1])
        return self.done

    def _epoch(self, number: int) -> float:
        """One pass over the images in a new order; the mean loss."""
        self.network.train()
        recipe, images = self.training.recipe, self.training.images
        order = torch.randperm(len(images), generator=self.random)[: self.steps * recipe.batch]
        total = 0.0
        for step, rows in enumerate(order.view(self.steps, recipe.batch)):
            self._set_rate(number * self.steps + step)
            total += self._step(images.part(rows), number)
            self.training.progress(f"epoch {number + 1}", step + 1, self.steps)
        return total / self.steps

    def _set_rate(self, step: int) -> None:
        recipe = self.training.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate_at(step, recipe.epochs * self.steps)

    def _step(self, batch: Labelled, epoch: int) -> float:
        images = batch.images
        if images.ndim == 4:
            images = self.training.augment(images, self.random, epoch)
        loss = self._loss(images, batch.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.item())

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        recipe, teacher = self.training.recipe, self.training.teacher
        answers = logits_of(self.network, images)
        loss = functional.cross_entropy(answers, labels, label_smoothing=recipe.smoothing)
        if teacher is None or recipe.distillation == 0:
            return loss
        teacher.eval()
        with torch.no_grad():
            taught = logits_of(teacher, images)
        share = recipe.distillation
        return (1 - share) * loss + share * _distance(answers, taught, recipe.temperature)

    # ---- checkpoints

    def _run_name(self) -> str:
        """What a checkpoint must agree with to go on from."""
        shapes = [tuple(p.shape) for p in self.network.parameters()]
        return f"{self.training.recipe} {self.training.augment} {len(self.training.images)} images {shapes}"

    def _save(self) -> None:
        if self.training.checkpoint is not None:
            state = {
                "run": self._run_name(),
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "random": self.random.get_state(),
                "epochs": [(e.number, e.loss, e.accuracy) for e in self.done],
            }
            checkpoint.save(self.training.checkpoint, state)

    def _resume(self) -> None:
        path = self.training.checkpoint
        state = None if path is None else checkpoint.load(path, self._run_name())
        if state is not None:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.random.set_state(state["random"])
            self.done = [Epoch(*row) for row in state["epochs"]]


def _parameter_groups(network: Network, recipe: Recipe) -> list[dict[str, object]]:
    """Weights decay; what has one number a channel does not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _distance(answers: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened answers, scaled so that its gradient keeps its size."""
    student = functional.log_softmax(answers / temperature, 1)
    teacher = functional.log_softmax(taught / temperature, 1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
