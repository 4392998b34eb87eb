"""What `inspect` says for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..report import amount, duration, facts, node_text, shape_text, size
from ..tables import table
from .choices import NOTE

COLUMNS = (
    "operator", "node", "result", "MACs", "primitive", "noise", "time", "next", "layouts", "weights",
    "workspace",
)  # fmt: skip
_PADDING = 4 << 10  # bytes of alignment and whole vectors that are not worth a word
TIMED = ("time", "next")
SHORTENED = ("operator", "node", "result", "next", "layouts")
SPARE = ("layouts", "next", "noise", "weights", "workspace", "result")  # the first one goes first


def print_text(result: Mapping[str, Any]) -> None:
    """A summary, the operators, and the memory map where there is one."""
    if "manifest" in result:
        _print_artifact(result)
    else:
        _print_model(result)


def _print_model(result: Mapping[str, Any]) -> None:
    memory = result["memory"]
    rows = [
        ("file", result["file"]),
        *_ports(result),
        ("MACs", amount(result["macs"])),
        ("constants", _constants(result)),
    ]
    if result["seconds"] is not None:
        by = result["costs"] or "the cost model"
        rows.append(("time", f"{duration(result['seconds'])} on {_timed_on(result)} by {by}"))
    if noise := sum(row.get("noise", 0.0) for row in result["operators"]):
        rows.append(("noise", f"{_decibels(noise)} in all, beside what direct sums round"))
    if memory:
        bound = memory["lower_bound_bytes"]
        rows.append(("arena", f"{size(memory['peak_bytes'])} (lower bound {size(bound)})"))
    print(facts(rows))
    _print_operators(result)


def _timed_on(result: Mapping[str, Any]) -> str:
    from secateur.codegen.targets.find import find

    return find(result["target"]).timed_on


def _constants(result: Mapping[str, Any]) -> str:
    own, packed = result["constant_bytes"], result["weight_bytes"]
    return f"{size(own)}, {size(packed)} in the artifact" if packed else size(own)


def _print_operators(result: Mapping[str, Any]) -> None:
    timed = result.get("seconds") is not None
    rows = [_operator_cells(row) for row in result["operators"]]
    noisy = any(row["noise"] for row in rows)
    packed = any(row["weights"] for row in rows)
    left_out = {
        *(() if timed else TIMED),
        *(() if noisy else ("noise",)),
        *(() if packed else ("weights",)),
    }
    columns = [name for name in COLUMNS if name not in left_out]
    right = ("MACs", "noise", "time", "weights", "workspace")
    cells = ([row[c] for c in columns] for row in rows)
    print("\n" + table(columns, cells, right, SHORTENED, SPARE))
    if timed:
        print(NOTE.format(timed_on=_timed_on(result)))
    if result["memory"]:
        _print_memory(result["memory"])


def _print_memory(memory: Mapping[str, Any]) -> None:
    cells = (
        (r["offset"], r["size"], f"{r['start']}..{r['end']}", r["name"] or "-", node_text(r["operator"]))
        for r in memory["ranges"]
    )
    places = ("offset", "bytes", "alive", "value", "from")
    print("\n" + table(places, cells, right=("offset", "bytes", "alive"), shorten=("value", "from")))


def _ports(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(kind, f"{p['name']}: {p['type']}") for kind in ("input", "output") for p in result[f"{kind}s"]]


def _decibels(noise: float) -> str:
    return f"{10 * math.log10(noise):.1f} dB"


def _operator_cells(row: Mapping[str, Any]) -> dict[str, object]:
    seconds, noise = row.get("seconds"), row.get("noise")
    return {
        "operator": "+".join([row["operator"], *row["epilogue"]]),
        "node": node_text(row["node"]) or None,
        "result": "; ".join(row["results"]),
        "MACs": amount(row["macs"]) if row["macs"] else None,
        "primitive": row["primitive"],
        "noise": _decibels(noise) if noise else None,
        "time": None if seconds is None else duration(seconds),
        "next": row.get("next"),
        "layouts": " ".join(row["layouts"]) if row["primitive"] else None,
        "weights": _weights(row),
        "workspace": size(row["workspace"]) if row["workspace"] else None,
    }


def _weights(row: Mapping[str, Any]) -> str | None:
    """In the artifact, and how much more that is than in the model: Winograd's weights are transformed."""
    packed, own = row["weight_bytes"], row["constant_bytes"]
    if not packed:
        return None
    return f"{size(packed)} (+{size(packed - own)})" if packed > own + _PADDING else size(packed)


def _stored(row: Mapping[str, int]) -> str:
    """The arrays that one codec holds."""
    return f"{size(row['coded_bytes'])} for {size(row['bytes'])} in {row['arrays']} arrays"


def _made(row: Mapping[str, int]) -> str:
    """The constants that the runtime makes of the model's filters."""
    held = f"{size(row['coded_bytes'])} for {size(row['model_bytes'])} of filters"
    return f"{held}, of which {row['arrays']} arrays of {size(row['bytes'])} are made"


def _table(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the streams of weights have in common."""
    return [("table of all", size(manifest["table_bytes"]))] if "table_bytes" in manifest else []


def _loading(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What decoding weights takes, when a state is made and in each run, by counted instructions."""
    rows = []
    if manifest.get("loading_seconds"):
        taken = (
            f"about {duration(manifest['loading_seconds'])} on one core, in {size(manifest['loading_bytes'])}"
        )
        rows.append(("loading", taken))
    if row := manifest.get("streamed"):
        held = f"{size(row['coded_bytes'])} for {size(row['bytes'])} of {row['layers']} layers"
        each = (
            f"about {duration(row['run_seconds'])} of each run, in {size(row['region_bytes'])} of the arena"
        )
        rows.append(("decoded by layer", f"{held}; {each}"))
    return rows


def _needs(manifest: Mapping[str, Any]) -> str:
    """What a board must have besides a processor of the artifact's kind."""
    device = manifest.get("device")
    if device is not None:
        gpu, ptx = device["architecture"], device["ptx"] / 10
        return f"an NVIDIA GPU, {gpu} or later, and a driver that reads PTX {ptx}"
    return ", ".join(manifest["target"]["features"]) or "nothing special"


def _arenas(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a state takes of memory."""
    arena, thread = size(manifest["arena_bytes"]), size(manifest["thread_bytes"])
    if device := manifest.get("device"):
        return [("arena of the GPU", size(device["arena_bytes"])), ("state beside it", arena)]
    return [("arena", f"{arena}, and {thread} for each further thread")]


def _print_artifact(result: Mapping[str, Any]) -> None:
    manifest = result["manifest"]
    target = manifest["target"]
    ports = (
        (kind, f"{p['name']}: {shape_text(p['shape'])} {p['dtype']}")
        for kind in ("input", "output")
        for p in manifest[f"{kind}s"]
    )
    rows = [
        ("file", f"{result['file']} ({size(result['bytes'])})"),
        ("model", manifest["name"]),
        ("target", f"{target['name']} ({target['cpu']})"),
        ("needs", _needs(manifest)),
        *ports,
        ("MACs", amount(sum(row["macs"] for row in manifest["operators"]))),
        ("weights", size(manifest["weights_bytes"])),
        *((f"stored by {name}", _stored(row)) for name, row in manifest.get("stored", {}).items()),
        *_table(manifest),
        *(("transformed", _made(row)) for row in (manifest.get("transformed"),) if row),
        *_arenas(manifest),
        *_loading(manifest),
        *((name, manifest[name]) for name in ("pipeline", "secateur") if name in manifest),
    ]
    print(facts(rows))
    _print_operators(result)
