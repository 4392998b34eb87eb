"""Every trainable operator in PyTorch against the interpreter, on random operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.ir.elementwise import FUNCTIONS, Step
from secateur.ir.errors import ModelError
from secateur.ir.graph import Operator, Value
from secateur.ir.interpreter import evaluate
from secateur.ir.registry import create, registry
from secateur.ir.types import DType, TensorType

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-train installs it")

from secateur.train.operators import RULES, step_of  # noqa: E402

Array = NDArray[Any]
Case = tuple[str, list[Array], dict[str, Any]]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return np.abs(random(*shape)) + np.float32(0.5)


def booleans(*shape: int, seed: int = 0) -> Array:
    return random(*shape, seed=seed) > 0


def window(n: int, strides: int = 1, pads: Sequence[int] | None = None, dilations: int = 1) -> dict[str, Any]:
    return {
        "strides": (strides,) * n,
        "pads": tuple(pads or (0,) * 2 * n),
        "dilations": (dilations,) * n,
    }


X = random(2, 4, 7, 6)
RESIZE = {"shape": (2, 4, 14, 9), "scales": (1.0, 1.0, 2.0, 1.5)}

WINDOWS: list[Case] = [
    ("nn.conv", [X, random(6, 4, 3, 3)], window(2, pads=(1, 1, 1, 1))),
    ("nn.conv", [X, random(6, 4, 3, 2)], window(2, 2, (0, 1, 2, 1), 2)),
    ("nn.conv", [X, random(8, 1, 3, 3)], {**window(2), "groups": 4}),
    ("nn.conv", [random(2, 3, 9), random(5, 3, 4)], window(1, 3, (2, 1))),
    ("nn.conv", [random(1, 2, 4, 5, 4), random(3, 2, 2, 3, 2)], window(3)),
    (
        "nn.conv",
        [X, random(6, 4, 1, 1), random(1, 6, 1, 1), random(2, 6, 7, 6)],
        {**window(2), "epilogue": (Step("add"), Step("clip", (0.0, 6.0)), Step("add"), Step("relu"))},
    ),
    ("nn.conv_transpose", [X, random(4, 3, 3, 3)], {**window(2, 2, (1, 0, 1, 2)), "output_padding": (1, 0)}),
    ("nn.conv_transpose", [X, random(4, 3, 2, 2)], {**window(2), "groups": 2, "output_padding": (0, 0)}),
    ("nn.conv_transpose", [random(1, 2, 5), random(2, 3, 3)], {**window(1, 2), "output_padding": (1,)}),
    ("nn.max_pool", [X], {**window(2, 2, (1, 1, 1, 1)), "kernel": (3, 3)}),
    ("nn.max_pool", [X], {**window(2, 2), "kernel": (3, 2), "ceil_mode": True}),
    ("nn.max_pool", [X], {**window(2, dilations=2), "kernel": (3, 2)}),
    ("nn.average_pool", [X], {**window(2, 2, (1, 0, 1, 1)), "kernel": (3, 3)}),
    ("nn.average_pool", [X], {**window(2, 2, (1, 1, 1, 1)), "kernel": (3, 3), "count_include_pad": True}),
    ("nn.average_pool", [X], {**window(2, 2), "kernel": (2, 3), "ceil_mode": True}),
    ("nn.average_pool", [random(1, 3, 8)], {**window(1, 2), "kernel": (2,)}),
]
MATRICES: list[Case] = [
    ("nn.matmul", [random(3, 4), random(4, 5), random(5)], {"epilogue": (Step("add"), Step("relu"))}),
    ("nn.matmul", [random(2, 1, 3, 4), random(5, 4, 2)], {}),
    ("nn.matmul", [random(4), random(4)], {}),
]
MOVEMENT: list[Case] = [
    ("nn.reshape", [X], {"shape": (2, 2, 2, 42)}),
    ("nn.transpose", [X], {"perm": (0, 2, 3, 1)}),
    ("nn.expand", [random(2, 1, 3)], {"shape": (4, 2, 5, 3)}),
    ("nn.tile", [random(2, 3)], {"repeats": (2, 3)}),
    ("nn.carry", [X], {"ranges": (2, 4, 0, 1)}),
    ("nn.channel_sum", [X, random(2, 3, 7, 6)], {"channels": 6, "ranges": (2, 6, 0, 1, 3, 5)}),
    ("nn.concat", [X, random(2, 3, 7, 6)], {"axis": 1}),
    ("nn.slice", [X], {"starts": (0, 1, 6, 0), "sizes": (2, 2, 3, 6), "steps": (1, 2, -2, 1)}),
    ("nn.gather", [X, np.array([[3, -1], [0, 1]], np.int64)], {"axis": 1}),
    ("nn.gather", [X, np.array(2, np.int64)], {"axis": 2}),
    ("nn.pad", [X], {"pads": (0, 1, 2, -1, 0, 0, -2, 1), "value": 1.5}),
    ("nn.pad", [X], {"pads": (0, 0, 2, 1, 0, 0, 3, 0), "mode": "reflect"}),
    ("nn.pad", [X], {"pads": (0, 0, 2, -1, 0, 1, 3, 0), "mode": "edge"}),
    ("nn.depth_to_space", [random(2, 8, 3, 2)], {"block": 2}),
    ("nn.depth_to_space", [random(2, 8, 3, 2)], {"block": 2, "mode": "CRD"}),
    ("nn.space_to_depth", [random(2, 2, 6, 4)], {"block": 2}),
    ("nn.space_to_depth", [random(2, 2, 6, 4)], {"block": 2, "mode": "CRD"}),
    ("nn.resize", [X], {**RESIZE, "mode": "nearest"}),
    ("nn.resize", [X], {**RESIZE, "mode": "linear"}),
    ("nn.resize", [X], {**RESIZE, "mode": "linear", "coordinates": "align_corners"}),
    ("nn.resize", [X], {**RESIZE, "mode": "cubic", "coordinates": "asymmetric"}),
    (
        "nn.resize",
        [X],
        {"shape": (2, 4, 3, 3), "scales": (1.0, 1.0, 3 / 7, 0.5), "mode": "linear", "antialias": True},
    ),
]
NORMS: list[Case] = [
    ("nn.batch_norm", [X, random(4), random(4), random(4), positive(4)], {"epsilon": 1e-3}),
    ("nn.instance_norm", [X, random(4), random(4)], {}),
    ("nn.layer_norm", [X, random(7, 6), random(6)], {"axis": 2}),
    ("nn.lrn", [X], {"size": 3, "alpha": 0.5}),
    ("nn.lrn", [X], {"size": 4, "beta": 1.5, "bias": 2.0}),
    ("nn.softmax", [X], {"axis": 1}),
    ("nn.log_softmax", [X], {}),
]
CHOICES: list[Case] = [
    ("nn.map", [X, random(4, 1, 1)], {"epilogue": (Step("mul"), Step("tanh"))}),
    ("nn.cast", [X], {"dtype": DType.I32}),
    ("nn.where", [booleans(2, 4, 7, 6), X, random(6)], {}),
    *[
        (f"nn.{n}", [X, random(4, 1, 1)], {})
        for n in ("equal", "greater", "greater_equal", "less", "less_equal")
    ],
    *[(f"nn.{n}", [booleans(3, 4), booleans(3, 4, seed=1)], {}) for n in ("and", "or", "xor")],
    ("nn.not", [booleans(3, 4)], {}),
    ("nn.argmax", [np.sign(X)], {"axis": 1}),
    ("nn.argmax", [np.sign(X)], {"axis": 2, "keepdims": False, "select_last": True}),
    ("nn.add", [np.arange(6), np.arange(6)[::-1].copy()], {}),
    ("nn.div", [np.arange(-6, 6), np.full(12, 4)], {}),
]
REDUCTIONS = [name for name in sorted(registry()) if name.startswith("nn.reduce_")]
REDUCED: list[Case] = [
    (name, [positive(2, 4, 7, 6)], how)
    for name in REDUCTIONS
    for how in ({"axes": (2, 3)}, {"axes": (-1, 1), "keepdims": False}, {"axes": ()})
]


def rows() -> list[Case]:
    """Every element-wise function; those that are defined above zero alone get such operands."""
    found: list[Case] = []
    for name, row in FUNCTIONS.items():
        first = positive(2, 3, 5) if name in ("log", "sqrt", "pow", "rpow") else random(2, 3, 5) * 3
        second = positive(3, 1) if name in ("div", "rdiv", "mod", "fmod", "rpow") else random(3, 1)
        found.append(
            (f"nn.{name}", [first, second][: row.arity], dict(zip(row.params, row.defaults, strict=True)))
        )
    return found


CASES = [*WINDOWS, *MATRICES, *MOVEMENT, *NORMS, *CHOICES, *REDUCED, *rows()]


def made(case: Case) -> Operator:
    name, arrays, attributes = case
    return create(name, [Value(TensorType(a.shape, DType.of(a.dtype))) for a in arrays], attributes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_operator_computes_what_the_interpreter_computes(case: Case) -> None:
    op, arrays = made(case), case[1]
    (expected,) = evaluate(op, arrays)
    found = step_of(op)([torch.from_numpy(a) for a in arrays], False).numpy()
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_every_rule_has_a_case() -> None:
    quantized = {"q.quantize", "q.dequantize", "q.annotate"}  # stored integers are floats there: below
    assert {name for name, _, _ in CASES} | quantized == set(RULES)


@pytest.mark.parametrize("case", [c for c in (*WINDOWS, *MATRICES, *NORMS, *MOVEMENT) if c[0] != "nn.gather"])
def test_gradients_reach_every_operand(case: Case) -> None:
    learned = case[1][:3]  # not the running statistics of a batch normalization
    operands = [torch.from_numpy(a).requires_grad_(at < 3) for at, a in enumerate(case[1])]
    result = step_of(made(case))(operands, False)
    gradients = torch.autograd.grad((result * torch.randn(result.shape)).sum(), operands[: len(learned)])
    assert all(bool((g != 0).any()) for g in gradients)


def test_batch_normalization_learns_the_statistics_of_batches() -> None:
    x, ones, zeros = torch.from_numpy(X * 3 + 1), torch.ones(4), torch.zeros(4)
    mean, variance = torch.zeros(4), torch.ones(4)
    step = step_of(made(NORMS[0]))
    y = step([x, ones, zeros, mean, variance], True)
    np.testing.assert_allclose(y.mean((0, 2, 3)), zeros, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 2, 3)), ones, atol=0.02)
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * x.var((0, 2, 3)), rtol=1e-4)


QUANT = {"scales": (0.25, 0.5, 0.1), "zero_points": (3, 128, 250), "axis": 1}


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8])
def test_quantization_is_exact(dtype: DType) -> None:
    """Every step is met, ties and saturation too."""
    zeros = QUANT["zero_points"] if dtype == DType.U8 else (3, -128, 100)
    x = (np.arange(-1200, 1200) / 8).astype(np.float32).reshape(1, 1, -1).repeat(3, 1)
    quantize = create(
        "q.quantize", [Value(TensorType(x.shape))], {**QUANT, "zero_points": zeros, "dtype": dtype}
    )
    dequantize = create("q.dequantize", [quantize.result])
    (stored,) = evaluate(quantize, [x])
    found = step_of(quantize)([torch.from_numpy(x)], False)
    np.testing.assert_array_equal(found, stored)
    np.testing.assert_array_equal(step_of(dequantize)([found], False), evaluate(dequantize, [stored])[0])
    np.testing.assert_array_equal(
        step_of(dequantize)([torch.from_numpy(stored)], False), evaluate(dequantize, [stored])[0]
    )


def test_gradients_pass_roundings_and_stop_at_saturation() -> None:
    op = create(
        "q.quantize", [Value(TensorType((4,)))], {"scales": (0.5,), "zero_points": (10,), "dtype": DType.U8}
    )
    x = torch.tensor([0.3, -4.9, -6.0, 200.0]).requires_grad_()
    step_of(op)([x], True).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 0.0, 0.0]


def test_an_operator_without_a_rule_is_named() -> None:
    op = create(
        "nn.grid_sample", [Value(TensorType((1, 3, 4, 4))), Value(TensorType((1, 2, 2, 2)))], {}, "in"
    )
    with pytest.raises(ModelError, match=r"nn\.grid_sample \(ONNX node in\) cannot be trained"):
        step_of(op)
