"""A limit on the library: plans of fewer bytes of weights, then weights that are stored coded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import secateur
import secateur.codegen.lower
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.options import Limits
from secateur.passes.framework.base import Pass
from secateur.passes.select.solver import ImpossibleError
from secateur.pipeline import BESIDE_WEIGHTS
from secateur.runtime.manifest import read_manifest
from secateur.runtime.session import load
from secateur.size import (
    LEAST_BESIDE,
    MOST_BUILDS,
    LeastWeightsError,
    SizeError,
    codecs_within,
    library_bytes,
    within_size,
)
from tests.sampled import sampled
from tests.shorter import shorter

MODEL = Path(__file__).parents[2] / "examples/digits/resnet20.onnx"
RNG = np.random.default_rng(3)
CONSTANTS = {
    "v": np.round(RNG.standard_normal((64, 32, 3, 3)) * 8).astype(np.float32),
    "w": np.round(RNG.standard_normal((96, 64, 3, 3)) * 8).astype(np.float32),
}
TEXT = """
graph @two(%x: tensor<1x32x8x8xf32>) {
  %v = nn.constant() {value = dense_resource<"v">} : tensor<64x32x3x3xf32>
  %w = nn.constant() {value = dense_resource<"w">} : tensor<96x64x3x3xf32>
  %y = nn.conv(%x, %v) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x64x8x8xf32>
  %z = nn.conv(%y, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x96x8x8xf32>
  return %z as "z"
}
"""
DENSE = sum(array.nbytes for array in CONSTANTS.values())


def graph() -> Graph:
    return parse_graph(TEXT, CONSTANTS)


MODELS: list[Path | Graph] = [MODEL, graph()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", sampled(["so", "tar"], ["tar"]))
def test_a_library_keeps_its_size(kind: secateur.options.Kind, tmp_path: Path) -> None:
    model = shorter("digits")
    free = secateur.compile(model, tmp_path / "free.so", "rpi4").path.stat().st_size
    limit = free * 3 // 4
    artifact = secateur.compile(model, tmp_path / "small", "rpi4", limits=Limits(size=limit), kind=kind)
    assert library_bytes(artifact.path) <= limit
    primitives = {str(op.get("primitive")) for op in artifact.graph.operators}
    assert any(name.startswith("winograd") for name in primitives)  # where they take little


def test_weights_are_coded_where_nothing_else_keeps_the_limit(tmp_path: Path) -> None:
    limit = DENSE - 1
    artifact = secateur.compile(graph(), tmp_path / "small.so", limits=Limits(size=limit))
    assert artifact.path.stat().st_size <= limit
    manifest = read_manifest(artifact.path)
    assert manifest["coded_bytes"] < DENSE < manifest["weights_bytes"] + 64
    plan = artifact.graph.clone()
    stored = [op.attributes.pop("stored", "") for op in plan.operators]
    assert "best" in stored
    plain = secateur.compile(plan, tmp_path / "plain.so", pipeline="layout,memory")
    x = np.random.default_rng(1).standard_normal((1, 32, 8, 8), dtype=np.float32)
    with load(plain.path) as expected, load(artifact.path) as session:
        np.testing.assert_array_equal(session.run({"x": x})["z"], expected.run({"x": x})["z"])
        assert session.load_seconds > 0


def test_only_as_many_are_coded_as_must_be(tmp_path: Path) -> None:
    """Room for the larger layer's weights as they are: the smaller one's are decoded when it is loaded."""
    convs = [op for op in graph().operators if op.name == "nn.conv"]
    offered = {c.primitive for op in convs for c in AnalyticCosts(find("host")).choices(op)}
    without = tuple(name for name in offered if name.startswith("winograd"))
    path = tmp_path / "small.so"
    secateur.compile(graph(), path, limits=Limits(without=without), compress="best")
    code = library_bytes(path) - read_manifest(path)["coded_bytes"]
    smaller, larger = (CONSTANTS[name].nbytes for name in "vw")
    limit = code + larger + smaller // 2
    secateur.compile(graph(), path, limits=Limits(without=without, size=limit))
    assert library_bytes(path) <= limit
    stored = read_manifest(path)["stored"]
    assert stored.pop("raw")["bytes"] == larger
    assert sum(row["bytes"] for row in stored.values()) == smaller


@pytest.mark.slow
def test_a_size_that_nothing_keeps_names_the_least(tmp_path: Path) -> None:
    """The size that the error names is kept. It is that of the least weights: code may differ by a little."""
    weights = least_weights()
    with pytest.raises(SizeError, match=r"nothing fits in .*; the smallest library found has \d") as error:
        secateur.compile(graph(), tmp_path / "small.so", limits=Limits(size=weights + LEAST_BESIDE))
    assert list(tmp_path.iterdir()) == []
    least = error.value.bytes
    assert least > weights + LEAST_BESIDE
    artifact = secateur.compile(graph(), tmp_path / "small.so", limits=Limits(size=least))
    assert artifact.path.stat().st_size <= least


def least_weights() -> int:
    """Bytes that the weights of `graph` take at least, coded as small as can be."""
    with pytest.raises(LeastWeightsError, match="coded by 'smallest'") as error:
        secateur.compile(graph(), limits=Limits(size=80_000))
    return error.value.weights


@pytest.mark.parametrize("model", sampled(MODELS, MODELS[1:]), ids=["digits", "two"])
def test_less_than_the_weights_need_is_refused_before_any_kernel(
    model: Path | Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def build(*_: object) -> NoReturn:
        raise AssertionError("kernels are built")

    monkeypatch.setattr(secateur.codegen.lower, "build_kernels", build)
    watched: list[str] = []
    watch = secateur.Watch(progress=lambda what, _done, _total: watched.append(what))
    text = "weights alone need about [0-9]+kB, coded by '[a-z]+', and code and manifest 41kB or more"
    with pytest.raises(LeastWeightsError, match=text) as error:
        secateur.compile(model, tmp_path / "small.so", "rpi4", limits=Limits(size=40_000), watch=watch)
    assert DENSE / 8 < error.value.weights < 1_000_000
    assert [what for what in watched if what.startswith("weights ")] == [
        "weights as they are in 0 bytes",
        "weights coded by 'best' in 0 bytes",
    ]


def test_passes_before_selection_run_once_for_all_attempts() -> None:
    ran: list[str] = []

    class Seen:
        def before(self, _index: int, step: Pass, _graph: Graph) -> None:
            ran.append(step.name)

        def after(self, _index: int, _step: Pass, _graph: Graph) -> None: ...

    with pytest.raises(LeastWeightsError):
        secateur.compile(graph(), limits=Limits(size=10_000), watch=secateur.Watch(observers=[Seen()]))
    assert ran == ["canonicalize", "fuse", "select", "select"]


# The search, on compilations that are made up --------------------------------------------------------


@dataclass
class Plans:
    """Plans of the given weights, by codec, with `code` bytes beside them: the first that fits is made."""

    weights: Mapping[str | None, Sequence[int]]
    code: Callable[[int], int]
    size: int
    asked: list[tuple[str | None, int]] = field(default_factory=list)
    builds: int = 0

    def __call__(self, limits: Limits, codec: str | None) -> int:
        assert limits.size is not None
        allowed = limits.size - BESIDE_WEIGHTS
        self.asked.append((codec, allowed))
        found = next((w for w in self.weights[codec] if w <= allowed), None)
        if found is None:
            raise ImpossibleError("weights", toll=min(self.weights[codec]))
        self.builds += 1
        if (bytes := found + self.code(found)) > self.size:
            raise SizeError(bytes, self.size, found)
        return bytes


SIZE = 1_000_000


def test_what_is_too_large_is_tried_with_fewer_weights() -> None:
    plans = Plans({None: [900_000, 850_000, 700_000]}, lambda _: 200_000, SIZE)
    assert within_size(plans, Limits(size=SIZE)) == 900_000
    assert plans.asked == [(None, SIZE - BESIDE_WEIGHTS), (None, 800_000)]


def test_an_excess_is_taken_off_what_the_plan_has_not_off_what_it_may_have() -> None:
    """Else a plan with less weights than it may have is made again."""
    plans = Plans({None: [600_000, 550_000]}, lambda w: 410_000 if w == 600_000 else 440_000, SIZE)
    assert within_size(plans, Limits(size=SIZE)) == 990_000
    assert plans.builds == 2


def test_what_stays_too_large_is_refused_with_the_smallest_found() -> None:
    plans = Plans({None: [900_000, 700_000]}, lambda w: 310_000 if w == 700_000 else 400_000, SIZE)
    with pytest.raises(SizeError, match=r"nothing fits in 1MB; the smallest library found has 1\.01MB"):
        within_size(plans, Limits(size=SIZE))


def test_what_nothing_can_keep_is_refused_unbuilt() -> None:
    plans = Plans({None: [4 * SIZE], "best": [SIZE * 8 // 5], "smallest": [SIZE * 3 // 2]}, lambda _: 1, SIZE)
    with pytest.raises(LeastWeightsError, match="prune the model, or quantize it to int8") as e:
        within_size(plans, Limits(size=SIZE), codecs_within(Limits(size=SIZE), None, find("host")))
    assert (e.value.weights, plans.builds) == (SIZE * 3 // 2, 0)


@pytest.mark.parametrize("margin", [-60_000, -40_000, -20_000, -1, 0, 20_000])
@pytest.mark.parametrize("step", [1, 1000, 40_000])
def test_libraries_that_are_made_are_few(margin: int, step: int) -> None:
    """Whatever code takes, and however near weights lie to each other."""
    least = SIZE - 200_000 + margin
    weights = {None: range(SIZE, 900_000, -step), "best": range(950_000, 850_000, -step), "smallest": [least]}
    plans = Plans(weights, lambda w: 200_000 + 5_000 * (w % 7), SIZE)
    try:
        assert within_size(plans, Limits(size=SIZE), (None, "best", "smallest")) <= SIZE
    except (SizeError, LeastWeightsError):
        assert least + plans.code(least) > SIZE
    assert plans.builds <= MOST_BUILDS + 1


def test_codecs_come_after_weights_as_they_are() -> None:
    """And know then what code takes."""
    weights = {None: [5 * SIZE], "best": [900_000, 850_000], "smallest": [820_000]}
    plans = Plans(weights, lambda _: 170_000, SIZE)
    codecs = codecs_within(Limits(size=SIZE), None, find("host"))
    assert within_size(plans, Limits(size=SIZE), codecs) == 990_000
    first = SIZE - BESIDE_WEIGHTS
    best = [("best", first), ("best", 830_000), ("best", 850_000)]
    assert plans.asked == [(None, first), *best, ("smallest", 830_000)]


def test_a_named_codec_is_all_that_is_tried() -> None:
    assert codecs_within(Limits(size=1000), "rans", find("host")) == (None,)
    assert codecs_within(Limits(), None, find("host")) == (None,)
    assert codecs_within(Limits(size=1000), None, find("edgetpu")) == (None,)
    assert codecs_within(Limits(size=1000, weights_memory=0), None, find("host"))[0] == "fast"
