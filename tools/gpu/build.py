"""The half of gpu-check that needs a compiler and no GPU: artifacts, answers and an archive of both.

    python -m secateur.tools.gpu.build [--quick] [--target cuda-sm_90] [--out build/gpu-check]

What is there already is kept, so that a build may be interrupted. The archive is unpacked where the GPU is,
and run.py in it needs Python and NumPy.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer

import secateur
from secateur import SecateurError, Watch
from secateur.codegen.backends.cuda.assembler import ptxas
from secateur.ir import interpreter
from secateur.ir.noise import noise
from secateur.ir.support.atomic import write_whole

from .cases import Case, asked, checks, timed
from .steps import steps_of

Say = Callable[[str], None]


def build(
    folder: Path, target: str, quick: bool, say: Say = print, dump_ir: Path | None = None
) -> dict[str, Any]:
    """Everything that run.py reads; gives its index. What cannot be compiled is listed, not fatal."""
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"target": target, "checks": [], "times": [], "failed": {}}
    for kind, cases in (("checks", checks(quick)), ("times", timed(quick))):
        for case in cases:
            say(case.name)
            try:
                row = _built(folder, case, target, kind == "checks", dump_ir)
            except SecateurError as error:
                index["failed"][case.name] = str(error)
                continue
            index[kind].append(row)
    shutil.copy(Path(__file__).with_name("run.py"), folder / "run.py")
    write_whole(folder / "index.json", json.dumps(index, indent=1).encode())
    return index


def _built(folder: Path, case: Case, target: str, answers: bool, dump_ir: Path | None) -> dict[str, Any]:
    """The case's row; made anew unless its last file is there."""
    stem = "".join(c if c.isalnum() else "_" for c in case.name)
    described = folder / f"{stem}.json"
    if described.exists():
        found: dict[str, Any] = json.loads(described.read_text())
        return found
    model = case.model()
    made = _compiled(model, case, folder / f"{stem}.so", target, dump_ir)
    row: dict[str, Any] = {
        "name": case.name,
        "file": f"{stem}.so",
        "precision": case.precision,
        "primitives": Counter(str(op.get("primitive", op.name)) for op in made.graph.operators),
    }
    if answers:
        row |= _answers(made, folder / f"{stem}.npz")
    if case.group:
        row |= {"group": case.group, "input": _shape(model), "steps": steps_of(model)}
    write_whole(described, json.dumps(row).encode())
    return row


def _shape(model: onnx.ModelProto) -> list[int]:
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


def _compiled(
    network: onnx.ModelProto, case: Case, path: Path, target: str, dump_ir: Path | None
) -> secateur.Artifact:
    model = path.with_suffix(".onnx")
    onnx.save(network, model)
    try:
        options: dict[str, Any] = asked(case.precision, _shape(network)[0])
        watch = Watch(dump_ir=dump_ir / path.stem if dump_ir else None)
        return secateur.compile(model, path, target, cubin=ptxas() is not None, watch=watch, **options)
    finally:
        model.unlink()


def _answers(made: secateur.Artifact, path: Path) -> dict[str, Any]:
    """What the interpreter says of noise, beside the artifact."""
    given = noise(made.graph)
    wanted = list(interpreter.run(made.graph, given).values())
    arrays = {f"input{i}": a for i, a in enumerate(given.values())}
    np.savez(path, allow_pickle=False, **arrays, **{f"output{i}": a for i, a in enumerate(wanted)})
    return {"answers": path.name, "inputs": len(given), "outputs": len(wanted)}


def archive(folder: Path) -> Path:
    """The folder as a tar with what is written in it; weights that repeat take next to nothing."""
    path = folder.with_name(f"{folder.name}.tar.xz")
    with tarfile.open(path, "w:xz", preset=3) as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, f"{folder.name}/{file.name}")
    return path


def main(
    target: Annotated[str, typer.Option(help="The GPU that it will run on.")] = "cuda-sm_90",
    out: Annotated[Path, typer.Option(help="Folder of the artifacts.")] = Path("build/gpu-check"),
    quick: Annotated[bool, typer.Option("--quick", help="Small chains alone, to try the road.")] = False,
) -> None:
    """Build what gpu-check runs, and pack it."""
    index = build(out, target, quick)
    packed = archive(out)
    for name, why in index["failed"].items():
        print(f"not built: {name}: {why}")
    size = packed.stat().st_size / 2**20
    print(
        f"{packed}: {size:.1f} MiB. Where the GPU is: "
        f"tar xf {packed.name} && python {out.name}/run.py {out.name}"
    )


if __name__ == "__main__":
    typer.run(main)
