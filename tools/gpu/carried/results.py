"""Results as they grow: written whole after each step, read again where a process ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FILE = "results.json"


class Results:
    """`data` is what results.json holds: checks, times, items left out, done and begun, seconds spent."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE
        self.data: Row = {
            "about": {},
            "checks": [],
            "times": [],
            "left_out": [],
            "done": [],
            "begun": {},
            "spent": 0.0,
        }
        if self.path.exists():
            self.data |= json.loads(self.path.read_text())

    def write(self) -> None:
        for name, text in ((FILE, json.dumps(self.data, indent=1)), ("results.md", as_markdown(self.data))):
            draft = self.folder / f"{name}.draft"
            draft.write_text(text)
            draft.replace(self.folder / name)

    def failed(self, name: str, is_check: bool, why: str) -> None:
        self.data["checks" if is_check else "times"].append(
            {"name": name, "group": name, "who": "all", "failure": why}
        )

    def finish(self, name: str) -> None:
        self.data["done"].append(name)
        self.data["begun"] = {}
        self.write()

    @property
    def wrong(self) -> list[Row]:
        return [row for row in self.data["checks"] if not row.get("ok")]


def as_markdown(data: Row) -> str:
    """The results as people read them."""
    about, checks = data["about"], data["checks"]
    wrong = [row for row in checks if not row.get("ok")]
    lines = [f"# {about.get('device')} ({about.get('architecture')}), driver of CUDA {about.get('cuda')}", ""]
    lines += [
        f"{len(checks)} answers checked, {len(wrong)} wrong. cuDNN: {about.get('cudnn', 'not asked yet')}.",
        *([f"cuDNN in bytes: {about['cudnn of bytes']}."] if "cudnn of bytes" in about else []),
        "",
    ]
    lines += [f"* {row['name']}: {row.get('failure') or _wrong(row)}" for row in wrong]
    groups: dict[str, dict[str, str]] = {}
    for row in data["times"]:
        words = f"{row['ms'] * 1e3:.1f}" if "ms" in row else "failed"
        groups.setdefault(row["group"], {})[row["who"]] = words
    who = sorted({name for row in groups.values() for name in row})
    lines += ["", "| microseconds | " + " | ".join(who) + " |", "| --- |" + " ---: |" * len(who)]
    lines += [f"| {g} | " + " | ".join(row.get(w, "") for w in who) + " |" for g, row in groups.items()]
    if data["left_out"]:
        lines += ["", f"Left out, since time was up: {', '.join(data['left_out'])}."]
    return "\n".join(lines) + "\n"


def _wrong(row: Row) -> str:
    named = ", ".join(
        f"{name} by {worst:.2g}" for name, worst in row["worst"].items() if worst > row["tolerance"]
    )
    return f"of its largest magnitude differs {named}"
