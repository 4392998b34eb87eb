"""The schema of TFLite's files, as LiteRT's package generates and maintains it; imported when a file is made.

It has no types, so it goes by `Any`: classes end in `T` and have a field for each of the schema's.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from secateur.ir.errors import SecateurError

EXTRA = 'pip install "secateur[edgetpu]"'


def needed(module: str) -> Any:
    """A module of the extra; SecateurError with what installs it where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        raise SecateurError(f"TFLite files need the package {error.name}: {EXTRA}") from None


@cache
def schema() -> Any:
    """The generated classes and enumerations."""
    return needed("ai_edge_litert.schema_py_generated")


def packed(model: Any) -> bytes:
    """The bytes of a `ModelT`."""
    builder = needed("flatbuffers").Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@cache
def aligned_buffer() -> type[Any]:
    """`BufferT` whose data lies at a multiple of 16, which the schema asks for and its Python does not do."""
    made = schema()

    class AlignedBuffer(made.BufferT):  # type: ignore[misc, name-defined]
        def Pack(self, builder: Any) -> Any:  # noqa: N802  (the schema's name)
            data = None if self.data is None else _aligned(builder, bytes(self.data))
            made.BufferStart(builder)
            if data is not None:
                made.BufferAddData(builder, data)
            return made.BufferEnd(builder)

    return AlignedBuffer


def _aligned(builder: Any, data: bytes) -> Any:
    builder.StartVector(1, len(data), 16)
    builder.head = builder.head - len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return builder.EndVector()
