"""Errors that a user reads: what is wrong, where in the model, what to do."""

from __future__ import annotations

from ..errors import SecateurError

__all__ = ["CheckError", "ModelError", "ModelNote", "SecateurError", "VerifyError"]


class ModelError(SecateurError):
    """A model that cannot be read or compiled."""


class VerifyError(SecateurError):
    """A graph that breaks a rule of the IR; the message shows the operator in its place."""


class CheckError(SecateurError):
    """A check that was asked for did its work and failed; the command line exits with 1."""


class ModelNote(UserWarning):
    """What was assumed about a model that leaves something open; the command line prints it as a note."""
