"""The demo: what it shows, what it measures, and when it fails."""

from pathlib import Path

import numpy as np
import pytest

from secateur.tools import demo


def test_demo_compiles_shows_runs_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for words in (
        "73 operators became",
        "IR before fusion",
        "nn.batch_norm(",
        "IR after fusion",
        "epilogue = [add, add, relu]",
        "360 held-out images",
        "99.17% (357/360)",
        "onnxruntime",
        f"artifact: {tmp_path}/resnet20.so",
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


def test_a_prediction_unlike_the_peers_is_a_fault() -> None:
    rows = [measured("secateur", [1, 2, 3]), measured("onnxruntime", [1, 2, 4])]
    assert demo.faults(rows, np.array([1, 2, 3])) == ["1 predictions differ from onnxruntime's"]


def test_low_accuracy_is_a_fault() -> None:
    assert demo.faults([measured("secateur", [1, 2])], np.array([1, 3])) == ["accuracy 50.00% is below 98%"]
    assert demo.faults([measured("secateur", [1, 3])], np.array([1, 3])) == []


def test_without_a_checkout_the_demo_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EXAMPLE", tmp_path)
    with pytest.raises(SystemExit, match="runs from a checkout"):
        demo.main(["--output", str(tmp_path / "out")])
