"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def known_targets(incomplete: str) -> list[str]:
    """The targets that a shell may complete a word to."""
    from secateur.codegen.targets.rows import TARGETS

    return [name for name in ("host", *TARGETS) if name.startswith(incomplete)]


Target = Annotated[
    str,
    typer.Option(
        help="The processor to compile for; `secateur targets` lists them.", autocompletion=known_targets
    ),
]
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Threads to run with.")]
Pipeline = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Passes, such as canonicalize,fuse{level=conservative},...")
]

Costs = Annotated[
    Path | None,
    typer.Option(
        "--costs", metavar="TABLE.json", help="Take times from a table that `secateur profile` wrote."
    ),
]
Tune = Annotated[
    bool,
    typer.Option(
        "--tune", help="Choose primitives by times measured on this machine (slow at first, then cached)."
    ),
]


def refuse(message: str) -> Exception:
    """The error for bad words on the command line."""
    from secateur.ir.errors import SecateurError

    return SecateurError(message)
