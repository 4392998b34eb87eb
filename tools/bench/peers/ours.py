"""Secateur itself."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from secateur.tools.bench.peers.base import Floats, Int8, Peer, Runner

LAYER_SQNR = 20.0  # dB


class _SecateurRunner:
    def __init__(self, artifact: Path, threads: int) -> None:
        import secateur

        self._session = secateur.load(artifact, threads=threads)

    def run(self, x: Floats) -> Floats:
        outputs = self._session.run({self._session.inputs[0].name: x})
        return np.asarray(next(iter(outputs.values())))


class Secateur(Peer):
    """Compiled anew in every benchmark: the compiler is what is being measured."""

    name = "secateur"
    modules: ClassVar = {"secateur": "secateur"}
    variants: ClassVar = ("accurate", "fast")

    def prepare(self, model: Path, threads: int) -> Runner:
        import secateur

        artifact = model.with_suffix(".so")
        secateur.compile(model, artifact)
        return _SecateurRunner(artifact, threads)

    def prepare_int8(self, model: Path, threads: int, int8: Int8) -> Runner:
        import secateur

        artifact = int8.beside(model, f".{int8.variant}-{int8.min_sqnr}.so")
        if not artifact.exists():  # the benchmark removes those of earlier runs
            secateur.compile(
                model,
                artifact,
                limits=secateur.Limits(min_sqnr=int8.min_sqnr),
                quantize=secateur.Int8(int8.calibration, layer_sqnr=LAYER_SQNR),
            )
        return _SecateurRunner(artifact, threads)


class Artifact(Peer):
    """What Secateur compiled before: the file that is loaded is an artifact."""

    name = "artifact"
    modules: ClassVar = {"secateur": "secateur"}

    def prepare(self, model: Path, threads: int) -> Runner:
        return _SecateurRunner(model, threads)
