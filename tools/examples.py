"""Files of `examples/` as modules: they belong to a checkout, not to the package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from secateur.ir.errors import SecateurError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(folder: str, name: str = "data") -> ModuleType:
    """`examples/FOLDER/NAME.py`, without its folder on the import path; SecateurError where there is none."""
    path = EXAMPLES / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"secateur_example_{folder}_{name}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SecateurError(f"{path} is missing; it is there in a checkout of the repository")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
