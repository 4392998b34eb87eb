"""Random and real networks at each stage that they go through: channels removed are channels masked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.onnx_writer import to_onnx
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.options import Options
from secateur.passes.quantize.quantize import quantize_graph, quantized_pairs

from ..bench import models
from ..checks.pruned import assert_same, check, noise
from .family import Family
from .networks import random_network

SIDES = {"resnet20": 32, "vgg16": 64, "alexnet": 96}
SIDE = 64  # of other networks' images
REAL = 12
"""One case of so many is a network of the benchmark."""


class PruneFamily(Family):
    """Networks as ONNX files, of which a random decision removes channels."""

    name = "prune"
    suffix = ".onnx"
    limit_s = 300
    shard = 12

    def make(self, seed: int) -> bytes:
        if seed % REAL == 0:
            return real_network(Random(seed).choice(models.names()), seed)
        return bytes(to_onnx(random_network(seed)).SerializeToString())

    def check(self, data: bytes, seed: int, _folder: Path, _say: Any) -> str:
        for graph in stages(read_model(data), seed):
            pruned = check(graph, seed)
        written = read_model(to_onnx(pruned))
        given = noise(pruned, seed)
        assert_same(run(pruned, given), run(written, given))
        return "agreed"


def real_network(name: str, seed: int) -> bytes:
    """A network of the benchmark on a small image."""
    return bytes(models.build(name, seed, SIDES.get(name, SIDE)).SerializeToString())


def stages(graph: Graph, seed: int) -> Iterator[Graph]:
    """In 8 bits, with or without Winograd layers; with pairs of quantize; fused; as it is read."""

    def passed(pipeline: str) -> Graph:
        return PassManager(parse_pipeline(pipeline)).run(graph).graph

    fused = passed("canonicalize,fuse,canonicalize")
    data = CalibrationData([noise(graph, seed + k) for k in range(2)])
    options = Options(winograd="2" if seed % 2 else "off", layers="all")
    yield quantize_graph(fused.clone(), data, options)[0]
    if seed % 3 == 0:
        yield quantized_pairs(fused.clone(), data, Options())[0]
    yield fused
    yield passed("canonicalize")
    yield graph
