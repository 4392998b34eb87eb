"""What `compile` says about the artifact that it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report import amount, duration, size
from ..tables import table

if TYPE_CHECKING:
    from secateur import Artifact
    from secateur.passes.framework.manager import Record
    from secateur.verification import Verified

PASSES, KERNELS = "passes", "kernels"  # phases of a compilation


def artifact_bytes(path: Path) -> int:
    """Size on disk of an artifact of any kind."""
    return (
        sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        if path.is_dir()
        else path.stat().st_size
    )


def _pass_row(record: Record) -> dict[str, Any]:
    return {
        "pass": record.text,
        "seconds": record.seconds,
        "operators_before": record.operators_before,
        "operators_after": record.operators_after,
        "moved": record.moved,
    }


def summary(artifact: Artifact, phases: Mapping[str, float]) -> dict[str, Any]:
    """For JSON: the artifact, its manifest, what the passes did, and what each phase took."""
    manifest = _manifest(artifact)
    return {
        "artifact": str(artifact.path),
        "bytes": artifact_bytes(artifact.path),
        "manifest": manifest,
        "passes": [_pass_row(record) for record in artifact.outcome.records],
        "phases": [{"phase": name, "seconds": seconds} for name, seconds in phases.items()],
        "verified": [asdict(row) for row in artifact.verified],
    }


def _manifest(artifact: Artifact) -> Mapping[str, Any]:
    """What the artifact itself says, where it has a manifest in it."""
    from secateur.runtime.manifest import read_manifest

    return artifact.manifest if "file_operators" in artifact.manifest else read_manifest(artifact.path)


def text_of(artifact: Artifact, phases: Mapping[str, float], timings: bool) -> str:
    """A line for people; before it, with `timings`, a table of what took how long."""
    facts = summary(artifact, phases)
    manifest, operators = facts["manifest"], facts["manifest"]["operators"]
    line = (
        f"{artifact.path}: {size(facts['bytes'])} for {manifest['target']['name']}, "
        f"{len(operators)} operators, {amount(sum(row['macs'] for row in operators))}MAC, "
        f"{_weights(manifest)} weights, {_arena(manifest)}"
    )
    checked = [_verified(row) for row in artifact.verified]
    then = [f"then: {manifest['then'].format(file=artifact.path)}"] if manifest.get("then") else []
    return "\n".join([*([_timings(facts)] if timings else []), line, *_coding(manifest), *checked, *then])


def _arena(manifest: Mapping[str, Any]) -> str:
    """Where kernels run on a GPU, that is its memory."""
    if device := manifest.get("device"):
        return f"{size(device['arena_bytes'])} arena of the GPU"
    return f"{size(manifest['arena_bytes'])} arena"


def _weights(manifest: Mapping[str, Any]) -> str:
    """What they take in memory, and in the file where that is not the same."""
    bytes = size(manifest["weights_bytes"])
    return f"{bytes} ({size(manifest['coded_bytes'])} coded)" if "coded_bytes" in manifest else bytes


def _coding(manifest: Mapping[str, Any]) -> list[str]:
    """How weights are stored where that is not as they are: by which codecs, and what decoding takes."""
    rows = [(name, row["arrays"]) for name, row in manifest.get("stored", {}).items()]
    if made := manifest.get("transformed"):
        rows.append(("made of filters", made["arrays"]))
    lines = []
    if rows:
        loading = f"loading takes about {duration(manifest['loading_seconds'])} on one core"
        lines.append(f"arrays of weights: {', '.join(f'{n} {name}' for name, n in rows)}; {loading}")
    if row := manifest.get("streamed"):
        weights = f"weights of {row['layers']} layers, {size(row['bytes'])}"
        lines.append(f"decoded in each run: {weights}, about {duration(row['run_seconds'])}")
    return lines


def _verified(row: Verified) -> str:
    """A line for an output of an artifact that was run and checked."""
    allowed = "to the bit" if row.allowed == 0 else f"within {row.moved:.2g} of its largest magnitude"
    return f"output '{row.output}' of the artifact is the interpreter's {allowed}"


def _timings(facts: Mapping[str, Any]) -> str:
    """The phases, with each pass in the place of `passes` and of the phases within a pass."""
    seconds = {row["phase"]: row["seconds"] for row in facts["phases"]}
    names = list(seconds)
    before, after = names[: names.index(PASSES)], names[names.index(KERNELS) :]
    rows = [(name, duration(seconds[name]), None, None) for name in names]
    cells = [*rows[: len(before)], *map(_pass_cells, facts["passes"]), *rows[-len(after) :]]
    cells.append(("in all", duration(sum(seconds.values())), None, None))
    headings = ("pass or phase", "time", "operators", "answer moved")
    return table(headings, cells, right=("time", "answer moved"), shorten=("pass or phase",))


def _pass_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    moved = None if row["moved"] is None else f"{row['moved']:.2g}"
    operators = f"{row['operators_before']} -> {row['operators_after']}"
    return row["pass"], duration(row["seconds"]), operators, moved
