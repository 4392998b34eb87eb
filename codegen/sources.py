"""The generated sources of an artifact: constant table with the bytes that it embeds, header, manifest."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from .alignment import ALIGNMENT, aligned
from .destination import SEAL_FIELDS, SEAL_MAGIC
from .program import Port, Program
from .program_check import DTYPE_BYTES, ProgramError, weights_bytes
from .runtime_files import RUNTIME_FILES, header_constant, runtime_folder
from .weights.decoding import TRANSFORMED, pace_seconds, room_of_streams, streams_seconds
from .weights.fetching import distinct, fetch_entries, fetched_summary
from .weights.storing import entries, summary
from .weights.transforms import summary as made_of_filters
from .weights.transforms import work_bytes

MANIFEST_FORMAT = 1
_LARGE = 1 << 30  # bytes of weights past which x86-64 code must not lie within their reach


def interface_header() -> str:
    """The text of secateur.h."""
    return runtime_folder().joinpath("secateur.h").read_text(encoding="utf-8")


def interface_constant(name: str) -> int:
    """The value of a number that secateur.h defines."""
    return header_constant("secateur.h", name)


@dataclass(frozen=True)
class ThreadCost:
    """Bytes of a state with one thread, and of each further thread; as secateur_arena_bytes computes them."""

    first: int
    next: int


def thread_cost(program: Program) -> ThreadCost:
    state, thread = interface_constant("SECATEUR_STATE_BYTES"), interface_constant("SECATEUR_THREAD_BYTES")
    arena, decoded = program.arena_bytes, 0
    if program.streams:
        arena = max(arena, making_bytes(program))
        decoded = weights_bytes(program)
    first = state + aligned(arena) + aligned(decoded)
    return ThreadCost(first, thread + aligned(program.workspace_bytes))


def decoder_bytes(program: Program) -> int:
    """Bytes in which the decoders of streams work that are decoded when a state is made."""
    return room_of_streams([*program.streams, *(s for t in program.transforms for s in t.streams)])


def making_bytes(program: Program) -> int:
    """Bytes in which weights are decoded, and made of filters: of a caller's arena, else for a moment."""
    return decoder_bytes(program) + work_bytes(program.transforms)


def loading_seconds(program: Program) -> float:
    """Of one core of the target, about, that decodes and makes weights when a state is made."""
    target, arrays = program.target, dict(zip(program.weight_offsets, program.weights, strict=True))
    seconds = streams_seconds(program.streams, program.weights, target) if program.streams else 0.0
    for transform in program.transforms:
        seconds += streams_seconds(transform.streams, transform.made.origin.sources, target)
        made = sum(arrays[at].size for at in transform.made.offsets)
        seconds += pace_seconds(TRANSFORMED, made, target)
    return seconds


def _short(seconds: float) -> float:
    """Of an estimate, three digits, which every machine prints alike."""
    return float(f"{seconds:.3g}")


def stored_bytes(program: Program) -> int:
    """Bytes that the weights take in the artifact."""
    if not is_coded(program):
        return weights_bytes(program)
    return sum(map(len, streams_of(program)))


def is_coded(program: Program) -> bool:
    """Whether the artifact holds streams."""
    return bool(program.streams or program.fetches)


def streams_of(program: Program) -> list[bytes]:
    """As they lie in the artifact, and behind them what they have in common."""
    made = (stream for t in program.transforms for stream in t.streams)
    return [*program.streams, *made, *distinct(program.fetches), program.table]


def manifest(program: Program) -> dict[str, Any]:
    """What the artifact records about itself: `Program.manifest` and the facts of this file."""
    target = program.target
    cost = thread_cost(program)
    own: dict[str, Any] = {
        "format": MANIFEST_FORMAT,
        "abi": interface_constant("SECATEUR_ABI_VERSION"),
        "name": program.name,
        "target": {
            "name": target.name,
            "triple": target.host.triple,
            "cpu": target.host.core,
            "features": list(target.host.features),
        },
        "inputs": [_port(port) for port in program.inputs],
        "outputs": [_port(port) for port in program.outputs],
        "operators": [
            {"label": c.label, "operator": c.operator, "symbol": c.symbol, "tasks": c.tasks, "macs": c.macs}
            for c in program.calls
        ],
        "arena_bytes": cost.first,
        "thread_bytes": cost.next,
        "weights_bytes": weights_bytes(program),
    }
    if is_coded(program):
        own["coded_bytes"] = stored_bytes(program)
        own["loading_bytes"] = making_bytes(program)
        own["loading_seconds"] = _short(loading_seconds(program))
        own["stored"] = summary(program.streams, program.weights)
    if program.table:
        own["table_bytes"] = len(program.table)
    if program.transforms:
        arrays = dict(zip(program.weight_offsets, program.weights, strict=True))
        own["transformed"] = made_of_filters(program.transforms, arrays)
    if program.fetches:
        seconds = sum(streams_seconds(f.streams, f.arrays, program.target) for f in program.fetches)
        own["streamed"] = {**fetched_summary(program.fetches), "run_seconds": _short(seconds)}
    if taken := own.keys() & program.manifest.keys():
        raise ProgramError(f"the manifest's {sorted(taken)} are written by the artifact itself")
    return own | program.manifest


def manifest_text(program: Program) -> str:
    """The manifest as JSON; ProgramError where it holds what JSON cannot say."""
    try:
        return json.dumps(manifest(program), indent=1, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        if isinstance(error, ProgramError):
            raise
        raise ProgramError(f"the manifest cannot be written as JSON: {error}") from None


@dataclass(frozen=True)
class DeviceTable:
    """What the constant table of a model for a GPU says of the GPU.

    The PTX lies beside it as model.ptx, and where there is finished code, that as model.cubin.
    """

    kernels: tuple[str, ...]
    architecture: int
    ptx_version: int
    arena_bytes: int
    cubin: bool = False


def model_table(program: Program, device: DeviceTable | None = None) -> str:
    """The text of the generated model_table.c."""
    size = len(manifest_text(program).encode())
    cubin = _CUBIN if device and device.cubin else ()
    lines = (*(_PTX if device else ()), *cubin, *embedding(program))
    return _render("model.c.j2", program, manifest_bytes=size, embedding=lines, device=device)


def model_header(program: Program) -> str:
    """The text of model.h: constants of the ports, then secateur.h."""
    cost = thread_cost(program)
    return _render(
        "model.h.j2", program, target=program.target.name, first_thread_bytes=cost.first,
        next_thread_bytes=cost.next, interface=interface_header().rstrip("\n"),
    )  # fmt: skip


_PTX = (
    '.section .rodata.secateur_ptx, "a", %progbits',
    ".globl model_ptx",
    ".hidden model_ptx",
    "model_ptx:",
    '.incbin "model.ptx"',
    ".byte 0",
)
_CUBIN = (
    '.section .rodata.secateur_cubin, "a", %progbits',
    f".balign {ALIGNMENT}",
    ".globl model_cubin",
    ".hidden model_cubin",
    "model_cubin:",
    '.incbin "model.cubin"',
)


def embedding(program: Program) -> tuple[str, ...]:
    """Lines of assembly that place weights.bin and manifest.json, found beside it, and an empty seal."""
    large = stored_bytes(program) >= _LARGE and program.target.host.triple.startswith("x86_64")
    section = '.lrodata.secateur, "al", %progbits' if large else '.rodata.secateur, "a", %progbits'
    return (
        f".section {section}",
        f".balign {ALIGNMENT}",
        ".globl model_weights",
        ".hidden model_weights",
        "model_weights:",
        '.incbin "weights.bin"',
        ".byte 0",  # so that the symbol of empty weights has an address of its own
        '.section .secateur.manifest, "a", %progbits',
        ".globl model_manifest",
        ".hidden model_manifest",
        "model_manifest:",
        '.incbin "manifest.json"',
        '.section .secateur.seal, "aR", %progbits',  # R: kept although nothing refers to it
        f'.ascii "{SEAL_MAGIC[:-1].decode()}\\000"',
        f".zero {SEAL_FIELDS.size}",
        ".text",  # what the compiler writes next, it may take to be here
    )


def write_weights(program: Program, path: Path) -> None:
    """Writes the weights' streams, or their bytes at their offsets, gaps zero."""
    with path.open("wb") as file:
        if is_coded(program):
            file.writelines(streams_of(program))
            return
        file.truncate(weights_bytes(program))
        for offset, array in zip(program.weight_offsets, program.weights, strict=True):
            file.seek(offset)
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def write_sources(program: Program, folder: Path, device: DeviceTable | None = None) -> None:
    """Writes the generated files (model_table.c, model.h, ...) and the runtime into `folder`."""
    (folder / "manifest.json").write_text(manifest_text(program), encoding="utf-8")
    (folder / "model_table.c").write_text(model_table(program, device), encoding="utf-8")
    (folder / "model.h").write_text(model_header(program), encoding="utf-8")
    write_weights(program, folder / "weights.bin")
    for name in RUNTIME_FILES:
        (folder / name).write_bytes(runtime_folder().joinpath(name).read_bytes())


def c_string(text: str) -> str:
    """A C string literal of `text` in UTF-8."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def _rows(program: Program) -> dict[str, list[Any]]:
    """Of the constant table: the streams of weights, then those of what transforms read; the transforms; what
    is decoded in each run, by rows of their own."""
    held = (program.weights, program.weight_offsets) if program.streams else ((), ())
    streams = entries(program.streams, *held)
    end, transforms = sum(map(len, program.streams)), []
    for transform in program.transforms:
        origin, places = transform.made.origin, transform.places
        transforms.append({"row": transform, "origin": origin, "first": len(streams), "work": places[-1]})
        streams += entries(transform.streams, origin.sources, places[:-1], end)
        end += transform.coded
    rows = fetch_entries(program.fetches, end)
    begins = accumulate(map(len, rows), initial=0)
    fetches = [
        {"first": first, "count": len(own), "work": fetch.work, "room": fetch.room}
        for fetch, own, first in zip(program.fetches, rows, begins, strict=False)
    ]
    return {
        "streams": streams,
        "transforms": transforms,
        "fetches": fetches,
        "fetched": [row for own in rows for row in own],
    }


def _port(port: Port) -> dict[str, Any]:
    return asdict(port) | {
        "shape": list(port.shape),
        "bytes": math.prod(port.shape) * DTYPE_BYTES[port.dtype],
    }


def _comment(text: str) -> str:
    """`text` with everything replaced that could end a C comment or start a trigraph."""
    return re.sub(r"[^A-Za-z0-9 ._+-]", "_", text)


@cache
def _templates() -> jinja2.Environment:
    here = files(__package__)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: here.joinpath(name).read_text(encoding="utf-8")),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters |= {"c": c_string, "comment": _comment, "hex": float.hex}
    return environment


def _render(template: str, program: Program, **more: Any) -> str:
    return (
        _templates()
        .get_template(template)
        .render(
            name=program.name,
            inputs=[_port(port) for port in program.inputs],
            outputs=[_port(port) for port in program.outputs],
            calls=program.calls,
            features=program.target.host.features,
            arena_bytes=program.arena_bytes,
            workspace_bytes=program.workspace_bytes,
            weights_bytes=weights_bytes(program),
            rows=_rows(program),
            coded_bytes=stored_bytes(program) if is_coded(program) else 0,
            table_bytes=len(program.table),
            decoder_bytes=decoder_bytes(program),
            making_bytes=aligned(making_bytes(program)),
            **more,
        )
    )
