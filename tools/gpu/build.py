"""The half of gpu-check that needs a compiler and no GPU: artifacts, answers and an archive of both.

    python -m secateur.tools.gpu.build [--quick] [--target cuda-sm_90] [--out build/gpu-check]

What is there already is kept, so that a build may be interrupted; what is there then can be run already. The
archive is unpacked where the GPU is, and `carried` in it needs Python and NumPy.
"""

from __future__ import annotations

import json
import lzma
import shutil
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer

import secateur
from secateur import SecateurError, Watch
from secateur.codegen.backends.cuda.ptx.assembler import ptxas
from secateur.codegen.backends.registry import backend_of
from secateur.codegen.build import workers_kept
from secateur.codegen.targets.find import find
from secateur.ir import interpreter
from secateur.ir.graph import Graph
from secateur.ir.noise import noise
from secateur.ir.support.atomic import write_whole
from secateur.ir.support.unasked import do_without

from .cases import PRECISIONS, Case, cases
from .fan import InTurn
from .guessed import quantized
from .steps import steps_of

Say = Callable[[str], None]
CARRIED = Path(__file__).with_name("carried")
_PACKED = lzma.FORMAT_XZ
_SHOWN = 2
_PRESET = 3  # filters repeat: more gains nothing


def build(
    folder: Path, target: str, given: Iterable[Case], say: Say = print, dump_ir: Path | None = None
) -> dict[str, Any]:
    """Everything that is carried to the GPU; gives its index, which is written after each case.

    What cannot be compiled is listed, not fatal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(
        CARRIED, folder / CARRIED.name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    index: dict[str, Any] = {"target": target, "rows": [], "failed": {}}
    for case in given:
        begin = time.monotonic()
        try:
            index["rows"].append(_kept(folder, case, target, dump_ir))
        except SecateurError as error:
            index["failed"][case.name] = str(error)
        write_whole(folder / "index.json", json.dumps(index, indent=1).encode())
        say(f"{case.name}: {time.monotonic() - begin:.0f} s")
    return index


def _kept(folder: Path, case: Case, target: str, dump_ir: Path | None) -> dict[str, Any]:
    """The case's row; made anew unless its last file is there."""
    stem = "".join(c if c.isalnum() else "_" for c in case.name)
    described = folder / f"{stem}.json"
    if described.exists():
        found: dict[str, Any] = json.loads(described.read_text())
        return found
    row = _built(folder / stem, case, target, dump_ir)
    write_whole(described, json.dumps(row).encode())
    return row


def _built(stem: Path, case: Case, target: str, dump_ir: Path | None) -> dict[str, Any]:
    """The files of a case; its row."""
    model, path = case.model(), stem.with_suffix(".so")
    made = _compiled(model, case, path, case.target or target, dump_ir)
    row: dict[str, Any] = {
        "part": case.part,
        "name": case.name,
        "file": _packed(path).name,
        "bytes": path.stat().st_size,
        "precision": case.precision,
        "primitives": Counter(str(op.get("primitive", op.name)) for op in made.operators),
    }
    path.unlink()
    if case.group:
        return row | {"group": case.group, "input": _shape(model), "steps": steps_of(model)}
    return row | _answers(made, stem.with_suffix(".npz"))


def _packed(path: Path) -> Path:
    """Beside it."""
    packed = path.with_name(f"{path.name}.xz")
    with lzma.open(packed, "wb", format=_PACKED, preset=_PRESET) as file:
        file.write(path.read_bytes())
    return packed


def _shape(model: onnx.ModelProto) -> list[int]:
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


def _compiled(network: onnx.ModelProto, case: Case, path: Path, target: str, dump_ir: Path | None) -> Graph:
    """Writes the artifact; gives the graph that it computes."""
    options: dict[str, Any] = dict(PRECISIONS[case.precision])
    graph = _read(network, path.with_suffix(".onnx"))
    if case.group and "quantize" in options:
        graph = quantized(graph, target, options.pop("quantize"))
    if case.target:
        options["costs"] = InTurn(backend_of(find(target)).costs(find(target)))
    watch = Watch(dump_ir=dump_ir / path.stem if dump_ir else None)
    finished = ptxas() is not None and not case.target  # those are for the driver to compile
    made = secateur.compile(graph, path, target, cubin=finished, watch=watch, **options)
    return made.graph


def _read(network: onnx.ModelProto, draft: Path) -> Graph:
    onnx.save(network, draft)
    try:
        return secateur.read(draft)
    finally:
        draft.unlink()


def _answers(graph: Graph, path: Path) -> dict[str, Any]:
    """What the interpreter says of noise, beside the artifact."""
    given = noise(graph)
    wanted = interpreter.run(graph, given)
    arrays = {f"input{i}": a for i, a in enumerate(given.values())}
    np.savez_compressed(
        path, allow_pickle=False, **arrays, **{f"output{i}": a for i, a in enumerate(wanted.values())}
    )
    named = [f"{name} ({_makers(graph, name)})" for name in wanted]
    return {"answers": path.name, "inputs": len(given), "outputs": named}


def _makers(graph: Graph, output: str) -> str:
    """The primitives of the last two operators before an output that are more than a change of form."""
    value, found = dict(zip(graph.output_names, graph.outputs, strict=True))[output], list[str]()
    while (op := value.producer) is not None and len(found) < _SHOWN:
        primitive = str(op.get("primitive", op.name))
        if len(op.operands) > 1 or "pool" in primitive or "reduce" in primitive:
            found.append(primitive)
        value = op.operands[0]
    return " of ".join(found)


def archive(folder: Path) -> Path:
    """The folder as a tar of what the index names."""
    path = folder.with_name(f"{folder.name}.tar")
    rows = json.loads((folder / "index.json").read_text())["rows"]
    names = [name for row in rows for name in (row["file"], row.get("answers")) if name]
    with tarfile.open(path, "w") as tar:
        for name in ("index.json", CARRIED.name, *names):
            tar.add(folder / name, f"{folder.name}/{name}")
    return path


def main(
    target: Annotated[str, typer.Option(help="The GPU that it will run on.")] = "cuda-sm_90",
    out: Annotated[Path, typer.Option(help="Folder of the artifacts.")] = Path("build/gpu-check"),
    quick: Annotated[bool, typer.Option("--quick", help="Small chains alone, to try the road.")] = False,
    only: Annotated[str, typer.Option(help="Cases alone whose names hold this.")] = "",
) -> None:
    """Build what gpu-check runs, and pack it."""
    do_without("torch")
    with workers_kept():
        index = build(out, target, (case for case in cases(quick) if only in case.name))
    packed = archive(out)
    for name, why in index["failed"].items():
        print(f"not built: {name}: {why}")
    size = packed.stat().st_size / 2**20
    print(
        f"{packed}: {size:.1f} MiB. Where the GPU is: "
        f"tar xf {packed.name} && cd {out.name} && python -m carried ."
    )


if __name__ == "__main__":
    typer.run(main)
