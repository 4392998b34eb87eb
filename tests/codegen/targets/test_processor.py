"""What the host is: found out, told by SECATEUR_HOST, or refused; on processors that are made up."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from secateur import host_executor
from secateur.codegen.targets import processor
from secateur.codegen.targets.find import find
from secateur.codegen.targets.host import check_here, cpu_flags, host, runnable
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

Machine = Callable[..., None]

PI_5 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
PI_4 = "fp asimd evtstrm crc32 cpuid"
PI_2 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
X86 = {name: frozenset(TARGETS[name].features) for name in TARGETS if name.startswith("x86")}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Makes this process believe that it runs on another machine."""
    monkeypatch.delenv("SECATEUR_HOST", raising=False)

    def become(name: str, features: str = "", llvm: frozenset[str] = frozenset(), core: str = "generic",
               pointer: int = 8) -> None:  # fmt: skip
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text("".join(f"processor : {i}\nFeatures\t: {features}\n" for i in range(2)))
        monkeypatch.setattr(platform, "machine", lambda: name)
        monkeypatch.setattr(processor, "_pointer_bytes", lambda: pointer)
        monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
        monkeypatch.setattr(processor, "_by_llvm", lambda: set(llvm))
        monkeypatch.setattr(processor, "core", lambda: core)

    return become


def same_row(name: str) -> bool:
    """Whether the host is that row under another name."""
    return (host().name, host().machine, host().clock_ghz) == (
        "host", TARGETS[name].machine, TARGETS[name].clock_ghz,
    )  # fmt: skip


@pytest.mark.parametrize("name", X86)
def test_an_x86_host_is_the_best_row(name: str, machine: Machine) -> None:
    machine("x86_64", llvm=X86[name])
    assert same_row(name)
    assert runnable()[-1] == TARGETS[name]


@pytest.mark.parametrize(
    ("name", "features", "core", "row"),
    [
        ("aarch64", PI_4, "cortex-a72", "rpi4"),
        ("aarch64", PI_5, "cortex-a76", "rpi5"),
        ("arm64", PI_5, "cortex-a78ae", "jetson-orin-cpu"),
        ("aarch64", PI_4, "cortex-a57", "jetson-nano-cpu"),
        ("aarch64", PI_4, "generic", "armv8-a"),
        ("aarch64", PI_5, "neoverse-n1", "armv8.2-a+dotprod+fp16"),
        ("aarch64", PI_5.replace(" fphp asimdhp", ""), "generic", "armv8.2-a+dotprod"),
        ("aarch64", PI_5.replace(" asimddp", ""), "cortex-a75", "armv8-a"),
        ("aarch64", PI_5.replace(" asimddp", ""), "carmel", "jetson-xavier-cpu"),
        ("aarch64", f"{PI_5} i8mm bf16 sve", "neoverse-v1", "armv8.6-a+i8mm"),
        ("aarch64", "", "generic", "armv8-a"),
    ],
)
def test_an_arm_host_has_its_features_and_its_board(
    name: str, features: str, core: str, row: str, machine: Machine
) -> None:
    machine(name, features, core=core)
    assert same_row(row)
    check_here(find("host"))  # --tune works
    check_here(TARGETS[row])
    with pytest.raises(SecateurError, match="this machine only"):
        check_here(TARGETS["x86-64-v3"])


@pytest.mark.parametrize("name", ["armv7l", "armv8l"])
def test_an_armv7_host_has_an_armv7_row(name: str, machine: Machine) -> None:
    machine(name, PI_2, core="cortex-a7", pointer=4)
    assert same_row("rpi2")
    machine(name, PI_2, core="cortex-a17", pointer=4)
    assert same_row("armv7-a+neon")


@pytest.mark.parametrize("features", [PI_4, PI_2])
def test_a_32_bit_process_under_a_64_bit_kernel(features: str, machine: Machine) -> None:
    machine("aarch64", features, core="cortex-a72", pointer=4)
    assert same_row("armv7-a+neon")


@pytest.mark.parametrize(
    ("name", "features", "reason"),
    [
        (
            "riscv64",
            "",
            "it is riscv64, known are x86_64, aarch64, armv7; name one to compile for with --target",
        ),
        ("armv6l", "half thumb vfp", "it is armv6l, known are"),
        ("armv7l", "half thumb vfp neon vfpv3", "this armv7 processor has no hwdiv, hwdiv-arm, vfp4"),
        ("x86_64", "", "this x86_64 processor has no popcnt, sse4.2, ssse3"),
    ],
)
def test_a_machine_that_no_row_fits_is_refused(
    name: str, features: str, reason: str, machine: Machine
) -> None:
    machine(name, features, pointer=4 if name.startswith("arm") else 8)
    with pytest.raises(SecateurError, match=f"no target fits this machine: {reason}"):
        find("host")
    assert runnable() == []
    assert find("rpi4") is TARGETS["rpi4"]


def test_cores_that_differ_have_what_they_share(machine: Machine) -> None:
    machine("aarch64", PI_5)
    processor.CPUINFO.write_text(f"Features : {PI_5}\nFeatures : {PI_4}\n")
    assert "dotprod" not in processor.features()
    processor.CPUINFO.unlink()
    assert processor.features() == frozenset()


@pytest.mark.parametrize("granted", [True, False])
def test_tiles_that_the_system_does_not_grant_are_none(
    granted: bool, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_llvm = processor._by_llvm
    machine("x86_64")
    present = dict.fromkeys(X86["x86-64-v4-amx"], True)
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: present)
    monkeypatch.setattr(processor, "_by_llvm", by_llvm)
    monkeypatch.setattr(processor, "_tiles_granted", lambda: granted)
    assert same_row("x86-64-v4-amx" if granted else "x86-64-v4-vnni")


# SECATEUR_HOST -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", X86)
def test_the_environment_names_the_host(name: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("x86_64", llvm=X86["x86-64-v4-amx"] | {"aes"})
    monkeypatch.setenv("SECATEUR_HOST", name)
    assert same_row(name)
    assert cpu_flags() == X86[name]
    assert runnable()[-1] == TARGETS[name]
    check_here(TARGETS[name])


def test_a_board_may_be_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("aarch64", PI_5, core="cortex-a76")
    monkeypatch.setenv("SECATEUR_HOST", "rpi3")
    assert same_row("rpi3")
    assert TARGETS["rpi5"] not in runnable()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x86-64-v4", "SECATEUR_HOST=x86-64-v4: this processor has no avx512bw, avx512cd, .*, avx512vl"),
        ("rpi4", "SECATEUR_HOST=rpi4: code for aarch64 does not run on this x86_64"),
        ("x86-64-v5", "SECATEUR_HOST: unknown target 'x86-64-v5'; did you mean 'x86-64-v.'"),
        ("host", "SECATEUR_HOST: unknown target 'host'"),
    ],
)
def test_a_host_that_this_machine_is_not_is_refused(
    name: str, reason: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("x86_64", llvm=X86["x86-64-v3"])
    monkeypatch.setenv("SECATEUR_HOST", name)
    for ask in (host, cpu_flags, runnable):
        with pytest.raises(SecateurError, match=reason):
            ask()


def test_kernels_compute_the_values_of_a_large_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the machine that the tests run on."""
    monkeypatch.setattr(host_executor, "LARGE", 0)
    graph, y = _relu()
    executor = host_executor.HostExecutor()
    ((found,),) = executor(graph, [{"x": np.array([-1, 2], np.float32)}], [y])
    assert found.tolist() == [0, 2]
    assert executor._session is not None


def test_outputs_of_any_type_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of doubles, integers, an input and a constant."""
    monkeypatch.setattr(host_executor, "LARGE", 0)
    graph, y = _relu()
    values = [create("nn.cast", [y], {"dtype": dtype}) for dtype in (DType.F64, DType.I64)]
    three = create("nn.constant", [], {"value": np.array([3, 3], np.float32)})
    for op in (*values, three):
        graph.append(op)
    wanted = [y, *(op.result for op in values), graph.inputs[0], three.result]
    graph.set_outputs(wanted, list("abcde"))
    (found,) = host_executor.HostExecutor()(graph, [{"x": np.array([-1, 2], np.float32)}], wanted)
    assert [a.tolist() for a in found] == [[0, 2], [0, 2], [0, 2], [-1, 2], [3, 3]]
    assert [a.dtype.name for a in found] == ["float32", "float64", "int64", "float32", "float32"]


def _relu() -> tuple[Graph, Value]:
    graph = Graph("g")
    x = graph.add_input(TensorType((2,)), "x")
    y = graph.append(create("nn.relu", [x])).result
    graph.set_outputs([y], ["y"])
    return graph, y


def test_calibration_needs_no_host(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no compiled code runs, the interpreter does, however large the graph."""
    machine("riscv64")
    monkeypatch.setattr(host_executor, "LARGE", 0)
    graph, y = _relu()
    ((found,),) = host_executor.HostExecutor()(graph, [{"x": np.array([-1, 2], np.float32)}], [y])
    assert found.tolist() == [0, 2]
