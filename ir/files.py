"""IR on disk: `model.sir` holds the text, `model.sir.safetensors` its large constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from .errors import ModelError
from .graph import Graph
from .parser import ParseError, parse_graph
from .printer import print_graph
from .support.atomic import write_whole

RESOURCES = ".safetensors"


def write_graph(graph: Graph, path: Path) -> None:
    """Writes the resources beside `path`, then the text to it, each whole or not at all."""
    text, resources = print_graph(graph)
    if resources:
        arrays = {k: np.ascontiguousarray(v) for k, v in resources.items()}
        write_whole(path.with_name(path.name + RESOURCES), save(arrays))
    write_whole(path, text.encode())


def read_graph(path: Path) -> Graph:
    """The graph in `path`; ModelError where a file is missing or damaged, ParseError where it is no graph."""
    sibling = path.with_name(path.name + RESOURCES)
    try:
        resources = load_file(sibling) if sibling.exists() else {}
        return parse_graph(path.read_text("utf-8"), resources, sibling)
    except ParseError as error:
        raise ParseError(f"{path}, {error}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: is not text; IR files are UTF-8") from None
    except SafetensorError as error:
        raise ModelError(f"{sibling}: damaged resource file: {error}") from None
