"""The demo: what it shows, what it measures, and when it fails."""

from pathlib import Path

import numpy as np
import pytest

from secateur.tools import demo
from tests.sampled import sampled
from tests.shorter import shorter

IMAGES = 32
WHOLE, SHORTER = "whole", "shorter"


@pytest.fixture
def fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges are chosen, twice, on fewer than the example has: all take longer than the rest of the demo."""
    data = demo.example_module()
    whole = data.load_calibration()
    fewer = type(whole)(whole.images[:IMAGES], whole.labels[:IMAGES])
    monkeypatch.setattr(data, "load_calibration", lambda: fewer)
    monkeypatch.setattr(demo, "example_module", lambda: data)


SAID = {
    WHOLE: (
        "73 operators became",
        "secateur fp32          99.17% (357/360)",
        "secateur int8          99.",
        "secateur int8, pruned  9",
        "onnxruntime fp32       99.17%",
    ),
    SHORTER: (
        "22 operators became",
        "secateur fp32          ",
        "secateur int8          ",
        "secateur int8, pruned  ",
        "onnxruntime fp32       ",
    ),
}


@pytest.mark.usefixtures("fewer_images")
@pytest.mark.parametrize("network", sampled([WHOLE, SHORTER], [SHORTER]))
def test_demo_compiles_shows_runs_and_compares(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what lacks blocks, the answers are ONNX Runtime's all the same; what it knows says nothing."""
    if network == SHORTER:
        monkeypatch.setattr(demo, "MODEL", str(shorter("digits")))
        for name, bar in (("ACCURACY", 0.0), ("LARGEST_DROP", 1.0), ("LARGEST_DROP_PRUNED", 1.0)):
            monkeypatch.setattr(demo, name, bar)
    assert demo.main(["--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for words in (
        *SAID[network],
        "IR before fusion",
        "nn.batch_norm(",
        "IR after fusion",
        "epilogue = [add, add, relu]",
        "360 held-out images",
        f"chosen on {IMAGES} images",
        "operators compute on bytes",
        "without training",
        "fewer MACs for",
        f"artifacts: {tmp_path}/resnet20.so, resnet20-int8.so and resnet20-pruned-int8.so",
        f"{tmp_path}/ir",
    ):
        assert words in out
    assert (tmp_path / "ir" / "02-fuse.sir").exists()
    assert list((tmp_path / "ir" / "kernels").glob("*.s"))


def test_excerpt_leaves_out_constants_and_places(tmp_path: Path) -> None:
    path = tmp_path / "a.sir"
    path.write_text(
        "graph @a(%x: tensor<2xf32>) {\n"
        "  %c = nn.constant() {value = dense<2xf32: [1.0, 2.0]>} : tensor<2xf32>\n"
        '  %0 = nn.add(%x, %c) : tensor<2xf32> loc("one")\n'
        "  %1 = nn.relu(%0) : tensor<2xf32>\n"
        '  return %1 as "y"\n}\n'
    )
    assert demo.excerpt(path, 1) == "  %0 = nn.add(%x, %c) : tensor<2xf32>\n  ... 2 operators in all"


def measured(name: str, labels: list[int]) -> demo.Measured:
    return demo.Measured(name, np.eye(10, dtype=np.float32)[labels], [1e-3], 1, "")


def test_networks_take_turns_on_every_image() -> None:
    calls: list[str] = []

    def network(name: str) -> demo.Network:
        def run(image: demo.Floats) -> demo.Floats:
            calls.append(name)
            return image

        return run

    images = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = demo.measure([network("a"), network("b")], images)
    assert calls == ["a", "b"] * 4  # once to warm up
    for logits, seconds in found:
        np.testing.assert_array_equal(logits, images)
        assert len(seconds) == 3


RIGHT = [1] * 500


def test_a_prediction_unlike_the_peers_is_a_fault() -> None:
    real, peer = measured("fp32", RIGHT), measured("onnxruntime", [2, *RIGHT[1:]])
    found = demo.faults(real, [(real, 0.003)], peer, np.array(RIGHT))
    assert found == ["1 predictions differ from onnxruntime's"]


def test_int8_may_differ_from_the_peer_within_its_drop() -> None:
    quantized = measured("int8", [2, *RIGHT[1:]])
    real, peer = measured("fp32", RIGHT), measured("peer", RIGHT)
    assert demo.faults(real, [(quantized, 0.003)], peer, np.array(RIGHT)) == []


def test_losing_more_than_the_largest_drop_is_a_fault() -> None:
    quantized = measured("int8", [2, 2, *RIGHT[2:]])
    smaller = [(quantized, 0.003), (measured("pruned", [2, 2, *RIGHT[2:]]), 0.01)]
    assert demo.faults(measured("fp32", RIGHT), smaller, None, np.array(RIGHT)) == [
        "int8 loses 0.40 points of accuracy, more than 0.3"
    ]


def test_low_accuracy_is_a_fault() -> None:
    poor = measured("int8", [1, 2])
    found = demo.faults(poor, [(poor, 0.003)], None, np.array([1, 3]))
    assert found == ["int8: accuracy 50.00% is below 98%"] * 2


def test_int8_is_compared_with_fp32(capsys: pytest.CaptureFixture[str]) -> None:
    real = demo.Measured("fp32", np.full((2, 10), 10, np.float32), [2e-3], 1, "")
    quantized = demo.Measured("int8", np.full((2, 10), 11, np.float32), [1e-3], 1, "")
    demo.compare(real, [quantized], None)
    assert capsys.readouterr().out == "int8 against fp32: 2.00x the speed, logits at 20.0 dB SQNR\n"


def test_without_a_checkout_the_demo_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EXAMPLE", tmp_path)
    with pytest.raises(SystemExit, match="runs from a checkout"):
        demo.main(["--output", str(tmp_path / "out")])
