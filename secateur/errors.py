"""The one base of all errors that a user reads; it lies below every folder and imports nothing.

`ir` and `runtime` know nobody, and yet `except secateur.SecateurError` must catch what either
raises: so the base belongs to none of them, and is the one name that all may import.
"""

from __future__ import annotations


class SecateurError(ValueError):
    """Bad input, or a machine that cannot do what is asked: what is wrong, where, what to do.

    The command line prints it and exits with 2. Beside it the public face raises
    only OSError, where a file cannot be read or written.
    """
