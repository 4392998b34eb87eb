"""Single 3x3 layers of ResNet and VGG-16, from int8 in to int8 out on one thread, against peers.

    python -m secateur.tools.bench.layers [--layers 64x56x56,...] [--rounds 20] [--out build/bench]

Engines take turns of a few runs; medians of what each engine's own profile gives for the layer are
compared. The processor's peak and the caches' bandwidth are measured in between.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import onnx
import typer
from rich.console import Console
from rich.table import Table

from secateur.ir.errors import SecateurError
from secateur.tools.bench.host_limits import has_vnni, read_bandwidth, vnni_peak
from secateur.tools.bench.int8 import sqnr
from secateur.tools.bench.layer_engines import (
    Array,
    LayerEngine,
    OnnxRuntimeLayer,
    OpenVinoLayer,
    OurLayer,
    OurProducts,
)
from secateur.tools.bench.layer_model import Layer, LayerModel
from secateur.tools.bench.report import cpu_model, write

LAYERS = (
    Layer(64, 64, 56), Layer(128, 128, 28), Layer(256, 256, 14), Layer(512, 512, 7),
    Layer(64, 64, 224), Layer(64, 128, 112), Layer(128, 128, 112), Layer(128, 256, 56),
    Layer(256, 256, 56), Layer(256, 512, 28), Layer(512, 512, 28), Layer(512, 512, 14),
)  # fmt: skip
TILES = {"direct": None, "F(2,3)": (2, 2), "F(4x2,3)": (4, 2), "F(4,3)": (4, 4)}
BARS = {20.0: 1.8, 30.0: 1.4}  # dB asked for -> ratio asked for
FLOAT_BAR = 2.4
BURST = 5
ROOFLINE = Layer(512, 512, 7)


@dataclass(frozen=True)
class Result:
    """One engine's time in ms on a layer, and its result's SQNR in dB against the float layer's.

    `products`: ms of its matrix products alone, of a primitive that does more. `best`: ms of the fastest run.
    """

    engine: str
    ms: float | None = None
    sqnr: float | None = None
    reason: str = ""
    products: float | None = None
    best: float | None = None


@dataclass(frozen=True)
class Row:
    """All engines on one layer. `peak`: measured int8 multiply-accumulates a second of the core."""

    layer: Layer
    results: tuple[Result, ...]
    peak: float

    def fastest(self, names: tuple[str, ...], least: float = float("-inf")) -> Result | None:
        """The fastest of `names` whose SQNR is at least `least`."""
        able = [r for r in self.results if r.engine in names and r.ms and (r.sqnr or 0.0) >= least]
        return min(able, key=lambda r: r.ms or 0.0, default=None)

    def ratio(self, least: float) -> float | None:
        """The fastest int8 peer's time over our fastest of at least `least` dB."""
        return _quotient(self.fastest(PEERS), self.fastest(tuple(TILES), least))

    def best_ratio(self, least: float) -> float | None:
        """The same of the fastest runs, which the machine's other guests disturbed least."""
        peer, ours = self.fastest(PEERS), self.fastest(tuple(TILES), least)
        return peer.best / ours.best if peer and ours and peer.best and ours.best else None

    @property
    def float_ratio(self) -> float | None:
        return _quotient(self.fastest(FLOATS), self.fastest(tuple(TILES), min(BARS)))


PEERS = ("openvino", "onnxruntime")
FLOATS = ("openvino fp32", "onnxruntime fp32")
ENGINES = (*FLOATS, *PEERS, *TILES)


def measure(layer: Layer, folder: Path, rounds: int) -> Row:
    """Every engine on `layer`, in `rounds` turns of BURST runs after one turn to warm up."""
    model = LayerModel(layer)
    folder.mkdir(parents=True, exist_ok=True)
    engines, failed = _prepare(model, folder)
    stored = model.stored(model.x)
    inputs = {name: model.x if name in FLOATS else stored for name in engines}
    expected = model.compute(model.x)
    noise = {}
    for name, engine in engines.items():
        result = engine.run(inputs[name])
        noise[name] = sqnr(result if name in FLOATS else model.real(result), expected)
    products = {n: OurProducts(e) for n, e in engines.items() if isinstance(e, OurLayer) and TILES[n]}
    peaks = _take_turns([(e, inputs[n]) for d in (engines, products) for n, e in d.items()], rounds)
    times = {n: _ms(e) for n, e in engines.items()}
    parts = {n: median(_ms(e)) for n, e in products.items()}
    results = [
        Result(n, median(ms), noise[n], products=parts.get(n), best=min(ms)) for n, ms in times.items()
    ]
    return Row(layer, (*results, *failed), median(peaks))


def _take_turns(engines: list[tuple[LayerEngine, Array]], rounds: int) -> list[float]:
    """The peaks measured between the rounds."""
    peaks = []
    for _ in range(rounds + 1):
        peaks.append(vnni_peak())
        for engine, x in engines:
            for _ in range(BURST):
                engine.run(x)
    return peaks


def _ms(engine: LayerEngine) -> list[float]:
    """Of all runs but the one that made sure that it works, and the first turn."""
    return [1e3 * seconds for seconds in engine.seconds()[1 + BURST :]]


def _prepare(model: LayerModel, folder: Path) -> tuple[dict[str, LayerEngine], list[Result]]:
    """Engines that run the layer, and why others do not."""
    real, stored = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model.float_model(), real)
    onnx.save(model.int8_model(), stored)
    makers: dict[str, Callable[[], LayerEngine]] = {
        "openvino fp32": lambda: OpenVinoLayer(real, "f32"),
        "onnxruntime fp32": lambda: OnnxRuntimeLayer(real, "Conv"),
        "openvino": lambda: OpenVinoLayer(stored, "u8"),
        "onnxruntime": lambda: OnnxRuntimeLayer(stored, "QLinearConv"),
        **{name: partial(OurLayer, model, stored, tile) for name, tile in TILES.items()},
    }
    engines: dict[str, LayerEngine] = {}
    failed = []
    for name, make in makers.items():
        try:
            engines[name] = make()
        except (ImportError, ValueError, SecateurError) as error:
            failed.append(Result(name, reason=str(error).splitlines()[0]))
    return engines, failed


def _quotient(slow: Result | None, fast: Result | None) -> float | None:
    return slow.ms / fast.ms if slow and fast and slow.ms and fast.ms else None


# ---- report

HEADER = (
    "layer",
    *ENGINES,
    *(f"ratio ≥ {db:.0f} dB" for db in BARS),
    f"best runs ≥ {min(BARS):.0f} dB",
    "over fp32",
    "GMAC/s",
    "of peak",
    "products of peak",
)


def multiplications(layer: Layer, primitive: str) -> int:
    """Products of the primitive's matrix multiplications, ragged tiles counted whole."""
    height, width = TILES[primitive] or (1, 1)
    tiles = -(-layer.side // height) * -(-layer.side // width)
    return taps(primitive) * tiles * layer.inputs * layer.outputs


def taps(primitive: str) -> int:
    """Weights of one filter and channel."""
    height, width = TILES[primitive] or (1, 1)
    return (height + 2) * (width + 2)


def cells(row: Row) -> list[str]:
    """One line of the table. Rates are of our fastest primitive of 20 dB or more."""
    by_name = {r.engine: r for r in row.results}
    best = row.fastest(tuple(TILES), min(BARS))
    rates = ["–", "–", "–"]
    if best and best.ms:
        shares = [
            multiplications(row.layer, best.engine) / (1e-3 * ms) / row.peak
            for ms in (best.ms, best.products or best.ms)
        ]
        rates = [f"{row.layer.macs / best.ms / 1e6:.0f}", *(f"{share:.0%}" for share in shares)]
    ratios = [*map(row.ratio, BARS), row.best_ratio(min(BARS)), row.float_ratio]
    return [
        str(row.layer),
        *(_cell(by_name.get(name)) for name in ENGINES),
        *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        *rates,
    ]


def _cell(result: Result | None) -> str:
    if result is None or result.ms is None or result.sqnr is None:
        return "–"
    return f"{result.ms:.3f}" + ("" if result.engine in FLOATS else f" ({result.sqnr:.1f})")


def notes(rows: list[Row]) -> list[str]:
    """What the columns mean, what the core can do, and why cells are empty."""
    peak = median(row.peak for row in rows)
    bars = ", ".join(f"{ratio} at {db:.0f} dB" for db, ratio in BARS.items())
    reasons = dict.fromkeys(f"{r.engine}: {r.reason}" for row in rows for r in row.results if r.reason)
    return [
        "ms of the layer alone, one thread, in parentheses SQNR in dB against the float layer; ratio: "
        f"fastest int8 peer over our fastest primitive of that SQNR (asked for: {bars}); "
        "best runs: the same of the fastest run of either, for a machine with other guests; over fp32: the "
        f"same for the fastest peer's float layer and {min(BARS):.0f} dB (asked for: {FLOAT_BAR})",
        "GMAC/s: the layer's multiply-accumulates over our time; of peak: those really done, over the "
        f"measured {peak / 1e9:.0f} GMAC/s (512-bit vpdpbusd, two a cycle at {peak / 128e9:.2f} GHz); "
        "products of peak: the same of the matrix products alone, without Winograd's transforms",
        "not here: ncnn, whose wheel has no quantizer, and MNN, whose wheel is slower in int8 than float32",
        *reasons,
        *(line for row in rows if row.layer == ROOFLINE for line in roofline(row)),
    ]


def roofline(row: Row) -> list[str]:
    """For each primitive: the least time that its multiplications and its weights' bytes allow.

    Weights are read once a run, from the cache that holds them; activations are left out.
    """
    layer, lines = row.layer, []
    for name in TILES:
        size = taps(name) * layer.inputs * layer.outputs
        compute = 1e3 * multiplications(layer, name) / row.peak
        stream = 1e3 * size / read_bandwidth(size)
        lines.append(
            f"{layer} {name}: at least {compute:.2f} ms to multiply and "
            f"{stream:.2f} ms to read {size / 2**20:.1f} MiB of weights"
        )
    return lines


def as_markdown(rows: list[Row], lines: list[str]) -> str:
    table = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *map(cells, rows)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in table)
    return "\n\n".join([cpu_model(), text, "\n".join(f"* {line}" for line in lines)]) + "\n"


def as_json(rows: list[Row]) -> str:
    results = [{**asdict(row), "ratios": {str(db): row.ratio(db) for db in BARS}} for row in rows]
    return json.dumps({"cpu": cpu_model(), "results": results}, indent=1) + "\n"


def as_table(rows: list[Row]) -> Table:
    table = Table()
    for title in HEADER:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*cells(row))
    return table


# ---- command line


def chosen(text: str) -> list[Layer]:
    """The layers named in `text`, comma separated; BadParameter names the known ones."""
    known = {str(layer): layer for layer in LAYERS}
    words = [word.strip().replace("->", "→") for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise typer.BadParameter(f"unknown layer '{unknown[0]}'; known: {', '.join(known)}")
    return [known[word] for word in words] or list(LAYERS)


def main(
    layers: Annotated[str, typer.Option(help="Layers, comma separated; all where none is named.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which every engine has one turn.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder of the tables.")] = Path("build/bench"),
) -> None:
    """Compare single int8 layers with those of peers."""
    selected = chosen(layers)
    if not has_vnni():
        raise typer.BadParameter("this processor has no AVX512-VNNI")
    rows: list[Row] = []
    lines: list[str] = []
    for layer in selected:
        if sys.stderr.isatty():
            Console(stderr=True).print(f"{layer} …")
        rows.append(measure(layer, out / "layers", rounds))
        lines = notes(rows)
        write(out / "layers.md", as_markdown(rows, lines))
        write(out / "layers.json", as_json(rows))
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(as_table(rows))
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"Written: {out / 'layers.md'}, {out / 'layers.json'}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
