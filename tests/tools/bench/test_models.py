"""The benchmark's networks: their counts are the published ones, their weights are alive and repeatable."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from secateur.tools.bench import models
from secateur.tools.bench.model_builder import GraphBuilder
from tests.sampled import sampled

PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "googlenet": 6_624_904,
    "squeezenet1.1": 1_235_496,
    "alexnet": 61_100_840,
    "mobilenet-v2": 3_504_872,
    "densenet121": 7_978_856,
    "resnet20": 272_474,
}  # as torchvision documents them; resnet20 with projections
GIGA_MACS = {
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "vgg16": 15.47,
    "googlenet": 1.498,
    "squeezenet1.1": 0.349,
    "alexnet": 0.714,
    "mobilenet-v2": 0.301,
    "densenet121": 2.834,
    "resnet20": 0.0408,
}
SMALL = tuple(name for name in models.names() if name not in ("vgg16", "alexnet"))


@cache
def built(name: str) -> onnx.ModelProto:
    return models.build(name)


@pytest.mark.parametrize("name", sampled(models.names(), {*models.names()} - {"vgg16"}))
def test_counts_equal_the_published_ones(name: str) -> None:
    model = built(name) if name in SMALL else models.build(name)
    assert models.parameters(model) == PARAMETERS[name]
    assert models.macs(model) == pytest.approx(GIGA_MACS[name] * 1e9, rel=2e-3)


def test_macs_count_groups_and_dense_layers() -> None:
    g = GraphBuilder("tiny", (1, 4, 5, 5), seed=0)
    x = g.conv(g.input, "conv", 8, 3, groups=2)
    model = g.finish(g.linear(g.flatten(x), "fc", 10))
    assert models.macs(model) == (8 * 3 * 3) * (2 * 3 * 3) + (8 * 3 * 3) * 10
    assert models.parameters(model) == 8 * 2 * 9 + 72 * 10 + 10


@pytest.mark.parametrize("name", SMALL)
def test_models_are_valid_and_look_like_an_export(name: str) -> None:
    model = built(name)
    onnx.checker.check_model(model, full_check=True)
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["input", "output"]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    nodes = [n.name for n in model.graph.node]
    assert len(set(nodes)) == len(nodes)
    assert len(model.graph.value_info) == len(nodes) - 1


def test_node_and_weight_names() -> None:
    graph = built("resnet18").graph
    nodes, weights = {n.name for n in graph.node}, {w.name for w in graph.initializer}
    assert {"/conv1/Conv", "/layer2/layer2.0/downsample/downsample.0/Conv"} <= nodes
    assert {"/layer1/layer1.0/relu/Relu", "/layer1/layer1.0/relu/Relu_1"} <= nodes
    assert {"layer2.0.downsample.1.running_var", "fc.weight", "fc.bias"} <= weights


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "googlenet", "mobilenet-v2", "densenet121", "resnet20"]
)
def test_batch_normalization_is_left_to_the_compiler(name: str) -> None:
    operators = [n.op_type for n in built(name).graph.node]
    assert operators.count("BatchNormalization") >= operators.count("Conv") > 0


@pytest.mark.parametrize("name", sampled(SMALL, [*SMALL][::2]))
def test_activations_neither_die_nor_explode(name: str) -> None:
    """Every activation's spread stays near one, and more than a quarter of its values are not zero."""
    model = onnx.ModelProto.FromString(built(name).SerializeToString())
    inner = [n for n in model.graph.node if n.op_type in ("Relu", "Clip") and n.output[0] != "output"]
    model.graph.output.extend(helper.make_empty_tensor_value_info(n.output[0]) for n in inner)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    logits, *activations = session.run(
        None, {"input": np.random.default_rng(1).standard_normal(shape, np.float32)}
    )
    assert 0.1 < float(logits.std()) < 50
    for value in activations:
        assert 0.1 < float(value.std()) < 50
        assert float((value > 0).mean()) > 0.25


def test_same_seed_same_bytes_other_seed_other_weights() -> None:
    again = models.build("resnet20").SerializeToString()
    assert again == built("resnet20").SerializeToString()
    assert again != models.build("resnet20", seed=1).SerializeToString()


def test_ceil_mode_gives_the_larger_map() -> None:
    g = GraphBuilder("pools", (1, 3, 112, 112), seed=0)
    assert g.max_pool(g.input, "a", 3, 2, ceil=True).shape == (1, 3, 56, 56)
    assert g.max_pool(g.input, "b", 3, 2).shape == (1, 3, 55, 55)


def test_save_keeps_the_file_of_an_unchanged_model(tmp_path: Path) -> None:
    first = models.save("resnet20", tmp_path)
    stamp = first.stat().st_mtime_ns
    assert models.save("resnet20", tmp_path) == first
    assert first.stat().st_mtime_ns == stamp
    assert onnx.load(first) == built("resnet20")
    assert models.save("resnet20", tmp_path, seed=1) != first


# ---- refusals


def test_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet19'; known: resnet18, .*mobilenet-v2"):
        models.build("resnet19")
    with pytest.raises(ValueError, match="unknown model"):
        models.save("resnet19", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_whose_shapes_disagree_is_refused() -> None:
    g = GraphBuilder("wrong", (1, 3, 8, 8), seed=0)
    x, y = g.conv(g.input, "a", 4, 3, pad=1), g.conv(g.input, "b", 4, 3)
    with pytest.raises(onnx.shape_inference.InferenceError, match="Incompatible dimensions"):
        g.finish(g.add(x, y, "sum"))


def test_a_result_of_the_wrong_shape_is_refused() -> None:
    g = GraphBuilder("wrong", (1, 3, 8, 8), seed=0)
    x = g.relu(g.input, "relu")
    with pytest.raises(onnx.shape_inference.InferenceError, match="differ in dimension 2"):
        g.finish(type(x)(x.name, (1, 3, 7, 7), x.mean, x.var))
