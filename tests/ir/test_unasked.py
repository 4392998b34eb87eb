"""Libraries that nobody asked for are hidden where a process is ours, from what imports them for itself."""

import os
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

from secateur.ir.support import unasked

OURS = """
import sys
from secateur.tools.cli.main import main
sys.argv[1:] = ["--version"]
try:
    main()
except SystemExit:
    pass
import secateur.codegen.tvm_lowering
parts = {"torch", "tvm.relax.expr", "tvm.s_tir.dlight.gpu", "tvm.backend.trn", "tvm.runtime.disco.session"}
assert not parts & sys.modules.keys()
import torch
print(torch.asked)
"""


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that can be imported, and that this process does without."""
    name = "secateur_test_guest"
    (tmp_path / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(unasked, "_UNASKED", {name})
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def package(folder: Path, then: str) -> str:
    """The name of a package that imports its part, in which `held` is true, and goes on with `then`."""
    folder.mkdir()
    (folder / "__init__.py").write_text(f"from . import part\n{then}\n")
    (folder / "part.py").write_text("held = True\n")
    return folder.name


def test_what_a_process_does_without_is_hidden_for_a_while(guest: str) -> None:
    with unasked.hidden(), pytest.raises(ModuleNotFoundError, match=guest):
        import_module(guest)
    assert import_module(guest)


def test_other_threads_find_it_meanwhile(guest: str) -> None:
    with unasked.hidden():
        thread = threading.Thread(target=import_module, args=[guest])
        thread.start()
        thread.join()
        assert guest in sys.modules


@pytest.mark.usefixtures("guest")
def test_a_part_is_empty_for_a_while(tmp_path: Path) -> None:
    whole = package(tmp_path / "secateur_test_whole", "held = hasattr(part, 'held')")
    with unasked.hidden(f"{whole}.part"):
        assert not import_module(whole).held
    assert not hasattr(import_module(whole), "part")
    assert import_module(f"{whole}.part").held
    del sys.modules[whole], sys.modules[f"{whole}.part"]


@pytest.mark.usefixtures("guest")
def test_an_import_that_is_interrupted_ends_as_it_would_alone(tmp_path: Path) -> None:
    broken = package(tmp_path / "secateur_test_broken", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt), unasked.hidden(f"{broken}.part"):
        import_module(broken)
    assert f"{broken}.part" not in sys.modules


def test_in_a_users_process_parts_are_whole(
    guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{guest}.py").write_text("held = True\n")
    monkeypatch.setattr(unasked, "_UNASKED", set())
    with unasked.hidden(guest):
        assert import_module(guest).held


@pytest.mark.usefixtures("guest")
def test_what_a_library_reads_is_told_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_TEST_KEPT", "theirs")
    monkeypatch.delenv("SECATEUR_TEST_NEW", raising=False)
    with unasked.told(SECATEUR_TEST_KEPT="ours", SECATEUR_TEST_NEW="ours"):
        assert [os.environ[f"SECATEUR_TEST_{name}"] for name in ("KEPT", "NEW")] == ["ours", "ours"]
    assert os.environ["SECATEUR_TEST_KEPT"] == "theirs"
    assert "SECATEUR_TEST_NEW" not in os.environ
    monkeypatch.setattr(unasked, "_UNASKED", set())
    with unasked.told(SECATEUR_TEST_KEPT="ours"):
        assert os.environ["SECATEUR_TEST_KEPT"] == "theirs"


def test_nothing_is_hidden_that_was_not_named(guest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unasked, "_UNASKED", set())
    with unasked.hidden():
        assert import_module(guest)


def test_a_command_compiles_without_pytorch_which_it_finds_when_it_asks(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("asked = 'found'\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", OURS],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("found\n")
