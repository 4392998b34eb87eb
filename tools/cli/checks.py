"""What a command refuses before any work, and before it imports what work needs (ONNX, networkx, LLVM, TVM).

Each check raises SecateurError, or OSError where the system refuses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from secateur.ir.errors import SecateurError

if TYPE_CHECKING:
    from secateur.codegen.targets.target import Machine

HOST = "host"


def check_target(name: str) -> None:
    """There is such a target. What the host is, LLVM is asked when the work begins."""
    from secateur.codegen.targets.find import find

    if name != HOST:
        find(name)


def check_output(target: str, path: Path, kind: str) -> None:
    """The target's backend may write an artifact of that kind there."""
    from secateur.codegen.backends.registry import backend_for
    from secateur.codegen.targets.target import Cpu

    backend_for(Cpu if target == HOST else _machine(target)).check_destination(path, kind)


def _machine(target: str) -> type[Machine]:
    from secateur.codegen.targets.find import find

    return type(find(target).machine)


def artifact_kinds(target: str) -> tuple[str, ...]:
    """The kinds of artifacts for a target, the usual one first."""
    from secateur.codegen.backends.registry import backend_for
    from secateur.codegen.targets.target import Cpu

    return backend_for(Cpu if target == HOST else _machine(target)).kinds


def has_kernels(target: str) -> bool:
    """Whether programs for the target call kernels of ours, whose times are estimated."""
    return "so" in artifact_kinds(target)


def is_here(name: str) -> bool:
    """Whether the target is what this machine is compiled for."""
    from secateur.codegen.targets import host
    from secateur.codegen.targets.find import find

    return name == HOST or host.is_here(find(name))


def check_timed_here(name: str) -> None:
    """Code for the target can be timed on this machine."""
    from secateur.codegen.targets.find import find
    from secateur.codegen.targets.host import check_here

    if name != HOST:
        check_here(find(name))


def check_finishing(name: str) -> None:
    """Code for the target can be finished here: it is a GPU, and its assembler is installed."""
    from secateur.codegen.backends.registry import backend_of
    from secateur.codegen.targets.find import find

    backend_of(find(name)).check_finishing()


def check_runs_here(name: str) -> None:
    """Artifacts for the target run on this machine."""
    from secateur.codegen.targets.find import find
    from secateur.codegen.targets.host import runs_here

    if name != HOST and not runs_here(find(name)):
        raise SecateurError(f"an artifact for {name} cannot run on this machine")


def check_pipeline(text: str | None) -> None:
    """The text names passes that can follow each other."""
    if text is None:
        return
    from secateur.passes.framework.pipeline import parse_pipeline

    steps = parse_pipeline(text)
    from secateur.passes.framework.manager import check_stages  # of passes that the table does not have

    check_stages(steps)


def check_readable(*paths: Path | None) -> None:
    """The files (or folders) that are given can be read."""
    for path in paths:
        if path is not None and not path.is_dir():
            path.open("rb").close()


def check_outputs(*paths: Path | None) -> None:
    """Files can be written where they are wanted; their folders exist."""
    from secateur.ir.support.atomic import check_writable

    for path in paths:
        if path is not None and path.is_dir():
            raise SecateurError(f"{path} is a folder; name a file")
        if path is not None:
            check_writable(path)


def check_apart(model: Path, *outputs: Path | None) -> None:
    """No output takes the place of the model, and none that of another."""
    seen: dict[Path, Path] = {}
    for path in filter(None, outputs):
        if path.exists() and path.samefile(model):
            raise SecateurError(f"{path}: is the model itself; name another file")
        if path.resolve() in seen:
            raise SecateurError(f"{path}: two outputs would be written there; name another file")
        seen[path.resolve()] = path


def check_folder(path: Path | None) -> None:
    """Files can be written to the folder, which may have to be made."""
    from secateur.ir.support.atomic import check_writable

    if path is not None:
        check_writable(path / "file", make_folders=True)
