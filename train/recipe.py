"""How a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.errors import SecateurError


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with Nesterov momentum; the rate rises, then falls along a cosine.

    `epochs`: how often each image is seen
    `batch`: images to a step; those that fill no last batch are left out, others each epoch
    `rate`: the largest learning rate
    `warmup`: share of the steps in which the rate rises
    `momentum`: share of the last step that goes on
    `decay`: weight decay of weights; of scales and biases none
    `smoothing`: share of each label that is spread over all classes
    `distillation`: share of the loss that is the distance to the teacher's answers, where there is one
    `temperature`: by which both answers are softened for that
    `seed`: of order and augmentation
    """

    epochs: int = 3
    batch: int = 128
    rate: float = 0.05
    warmup: float = 0.25
    momentum: float = 0.9
    decay: float = 5e-4
    smoothing: float = 0.0
    distillation: float = 0.5
    temperature: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in _LIMITS:
            if not low <= getattr(self, name) <= high:
                raise SecateurError(f"training: {name} is {getattr(self, name)}, {low} to {high} is possible")

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of one of `steps` steps."""
        rising = self.warmup * steps
        if step < rising:
            return self.rate * (step + 1) / (rising + 1)
        return self.rate * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising))) / 2


_LIMITS = (
    ("epochs", 1, 100_000),
    ("batch", 2, 1 << 20),
    ("rate", 0.0, 100.0),
    ("warmup", 0.0, 1.0),
    ("momentum", 0.0, 1.0),
    ("decay", 0.0, 1.0),
    ("smoothing", 0.0, 1.0),
    ("distillation", 0.0, 1.0),
    ("temperature", 1e-3, 1e3),
)
