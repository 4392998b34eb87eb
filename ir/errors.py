"""Errors that a user reads: what is wrong, where in the model, what to do."""

from __future__ import annotations


class SecateurError(ValueError):
    """Bad input to the compiler; the command line prints it and exits with 2."""


class ModelError(SecateurError):
    """A model that cannot be read or compiled."""


class VerifyError(SecateurError):
    """A graph that breaks a rule of the IR; the message shows the operator in its place."""


class ModelNote(UserWarning):
    """What was assumed about a model that leaves something open; the command line prints it as a note."""
