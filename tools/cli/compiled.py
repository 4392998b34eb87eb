"""What `compile` says about the artifact that it made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur import Artifact
    from secateur.artifact_check import Verified
    from secateur.passes.framework.manager import Record


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


def summary(artifact: Artifact) -> dict[str, Any]:
    """For JSON: the artifact, its manifest, and what the passes did."""
    from secateur.runtime.manifest import read_manifest

    manifest = read_manifest(artifact.path)
    return {
        "artifact": str(artifact.path),
        "bytes": artifact_bytes(artifact.path),
        "manifest": manifest,
        "passes": [_pass_row(record) for record in artifact.outcome.records],
        "verified": [asdict(row) for row in artifact.verified],
    }


def text_of(artifact: Artifact, timings: bool) -> str:
    """A line for people; before it, with `timings`, a table of the passes."""
    from ..report import amount, size

    facts = summary(artifact)
    manifest, operators = facts["manifest"], facts["manifest"]["operators"]
    line = (
        f"{artifact.path}: {size(facts['bytes'])} for {manifest['target']['name']}, "
        f"{len(operators)} operators, {amount(sum(row['macs'] for row in operators))}MAC, "
        f"{size(manifest['weights_bytes'])} weights, {size(manifest['arena_bytes'])} arena"
    )
    checked = [_verified(row) for row in artifact.verified]
    return "\n".join([*([_timings(facts["passes"])] if timings else []), line, *checked])


def _verified(row: Verified) -> str:
    """A line for an output of an artifact that was run and checked."""
    allowed = "to the bit" if row.allowed == 0 else f"within {row.moved:.2g} of its largest magnitude"
    return f"output '{row.output}' of the artifact is the interpreter's {allowed}"


def _timings(passes: list[dict[str, Any]]) -> str:
    from ..report import duration, table

    rows = (
        (
            row["pass"],
            duration(row["seconds"]),
            f"{row['operators_before']} -> {row['operators_after']}",
            None if row["moved"] is None else f"{row['moved']:.2g}",
        )
        for row in passes
    )
    return table(("pass", "time", "operators", "answer moved"), rows, right=("time", "answer moved"))
