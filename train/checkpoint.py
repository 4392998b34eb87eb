"""What training has reached, on disk after every epoch, so that an interrupted run goes on where it was."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from ..ir.errors import SecateurError
from ..ir.support.atomic import replacing

State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Writes the state whole or not at all."""
    with replacing(path) as draft:
        torch.save(state, draft)


def load(path: Path, run: str) -> State | None:
    """The state that `save` wrote, None where there is no file.

    `run` describes the training; SecateurError where the file is damaged or of another one, which
    would go on as neither.
    """
    if not path.exists():
        return None
    try:
        state: State = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise SecateurError(f"{path}: is no checkpoint: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict) or state.get("run") != run:
        raise SecateurError(
            f"{path}: is a checkpoint of another training (network, data or recipe differ); "
            f"remove it to begin anew, or name another file"
        )
    return state
