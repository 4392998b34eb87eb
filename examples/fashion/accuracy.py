"""Accuracy of a compiled network on the 10,000 test images, and the time of one image.

python examples/fashion/accuracy.py resnet20.onnx
python examples/fashion/accuracy.py resnet20.onnx --int8
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from data import FOLDER, Images, load_test, network_input

import secateur


def main() -> None:
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        session = compiled(options.model, Path(folder) / "network.so", options.int8)
        correct, seconds = measure(session, load_test())
        print(f"{correct} of 10000 images ({correct / 10000:.2%}), {seconds * 1e3:.3f} ms an image")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a network's accuracy on Fashion-MNIST.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--int8", action="store_true", help="quantized with calibration.npz")
    options = parser.parse_args()
    if not options.model.exists() and (FOLDER / options.model).exists():
        options.model = FOLDER / options.model
    return options


def compiled(model: Path, artifact: Path, int8: bool) -> secateur.Session:
    """The network for this machine, loaded."""
    quantize = secateur.Int8(str(FOLDER / "calibration.npz")) if int8 else None
    return secateur.load(secateur.compile(model, artifact, "host", quantize=quantize).path)


def measure(session: secateur.Session, test: Images) -> tuple[int, float]:
    """How many of the images are recognized, and the median time of one in seconds."""
    correct, times = 0, []
    for image, label in zip(network_input(test.images), test.labels, strict=True):
        start = time.perf_counter()
        output = session.run({"input": image[None]})["output"]
        times.append(time.perf_counter() - start)
        correct += int(output.argmax() == label)
    return correct, float(np.median(times))


if __name__ == "__main__":
    main()
