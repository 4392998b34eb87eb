"""Fixtures: artifacts built once a session, the cache of compiled runtimes shared with the user's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _programs() -> ModuleType:
    if "runtime_programs" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "runtime_programs", Path(__file__).with_name("programs.py")
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["runtime_programs"] = module
        spec.loader.exec_module(module)
    return sys.modules["runtime_programs"]


@pytest.fixture(scope="session")
def programs() -> ModuleType:
    return _programs()


@pytest.fixture(scope="session")
def model_so(programs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from secateur.codegen.artifact import write_artifact

    return write_artifact(programs.scale_relu_sum(), tmp_path_factory.mktemp("so") / "tiny.so")


@pytest.fixture(scope="session")
def model_dir(programs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from secateur.codegen.artifact import write_artifact

    return write_artifact(programs.scale_relu_sum(), tmp_path_factory.mktemp("dir") / "tiny", "dir")
