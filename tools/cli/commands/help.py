"""`secateur help`: what `--help` says, for the hand that types `help` first."""

from __future__ import annotations

from typing import Annotated

import typer

Named = Annotated[str | None, typer.Argument(metavar="[COMMAND]", help="Default: all commands.")]


def show_help(context: typer.Context, command: Named = None) -> None:
    """Show the help of a command, or the list of commands."""
    above = context.parent
    assert above is not None, "a command of the program"
    if command is None:
        print(above.get_help())
        return
    above.command.main([command, "--help"], prog_name=above.info_name)
