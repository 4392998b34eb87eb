"""What boards, cores and architectures are called elsewhere, and which rows are meant.

A target has one name; whoever gives another is told it. Names are compared without case and without what
separates their words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from secateur.ir.support.words import nearest


@dataclass(frozen=True)
class Meant:
    """Rows that a name may mean, the likeliest first, and what the user should know of it."""

    rows: tuple[str, ...]
    note: str = ""

    def ending(self, known: Iterable[str]) -> str:
        """`; did you mean 'rpi4'? Known: host, rpi4`, after the note; as `words.known_names`."""
        said, names = f"; {self.note}" if self.note else "", ", ".join(known)
        if not self.rows:
            return f"{said}; known: {names}"
        *others, last = (f"'{row}'" for row in self.rows)
        some = f"{', '.join(others)} or {last}" if others else last
        return f"{said}; did you mean {some}? Known: {names}"


_GPU = "GPUs of NVIDIA's alone are targets"
_V6 = "kernels need NEON, which ARMv6 lacks"
_PI = ("rpi4", "rpi3", "rpi5", "rpi2")
_JETSON = ("jetson-nano", "jetson-tx2", "jetson-xavier", "jetson-orin", "jetson-orin-nano")
_JETSON_CPU = ("jetson-nano-cpu", "jetson-tx2-cpu", "jetson-xavier-cpu", "jetson-orin-cpu")

# Rows (and what to say), then the names for them.
_TABLE: tuple[tuple[Meant, str], ...] = (
    (Meant(("host",)), "native local localhost here auto this-machine cpu"),
    (Meant(("x86-64-v3", "x86-64-v2", "x86-64-v4")), "x86 x86_64 amd64 x64 intel amd pc"),
    (Meant(("x86-64-v2",)), "sse sse4 sse4.2 x86-64-v1 nehalem westmere sandybridge ivybridge"),
    (Meant(("x86-64-v3",)), "avx2 core-avx2 haswell broadwell skylake alderlake n100 zen zen1 zen2 zen3"),
    (Meant(("x86-64-v4",)), "avx512 skylake-avx512 skylakex skx"),
    (Meant(("x86-64-v4-vnni",)),
     "vnni avx512vnni cascadelake icelake icelake-server zen4 zen5 znver4 znver5"),
    (Meant(("x86-64-v4-amx",)), "amx amx-int8 sapphirerapids emeraldrapids graniterapids spr emr gnr"),
    (Meant(_PI), "raspberrypi raspberry raspi rpi pi"),
    (Meant(("rpi2",)), "pi2 pi2b rpi2b raspi2 raspberrypi2 raspberrypi2b cortex-a7 bcm2836"),
    (Meant(("rpi3",)),
     "pi3 pi3b rpi3b raspi3 raspberrypi3 raspberrypi3b cm3 cortex-a53 bcm2837 "
     "pizero2 pizero2w rpizero2w raspberrypizero2w"),
    (Meant(("rpi4",)),
     "pi4 pi4b rpi4b raspi4 raspberrypi4 raspberrypi4b cm4 pi400 rpi400 raspberrypi400 cortex-a72 bcm2711"),
    (Meant(("rpi5",)),
     "pi5 pi5b rpi5b raspi5 raspberrypi5 raspberrypi5b cm5 pi500 rpi500 raspberrypi500 cortex-a76 bcm2712"),
    (Meant((), _V6),
     "pi1 rpi0 rpi1 raspberrypi1 pizero pizerow rpizero rpizerow raspberrypizero armv6 armv6l armel"),
    (Meant(_JETSON), "jetson nvidia tegra"),
    (Meant(_JETSON[:1]), "nano nvidia-jetson-nano jetson-tx1 tegra-x1 sm_53 cuda-sm_53 maxwell"),
    (Meant(_JETSON[1:2]), "tx2 tegra-x2 sm_62 cuda-sm_62"),
    (Meant(_JETSON[2:3]),
     "xavier xavier-nx jetson-xavier-nx agx-xavier jetson-agx-xavier sm_72 cuda-sm_72 volta"),
    (Meant(_JETSON[3:4]), "orin agx-orin jetson-agx-orin orin-nx jetson-orin-nx"),
    (Meant(_JETSON[4:]), "orin-nano"),
    (Meant(_JETSON[3:]), "sm_87 cuda-sm_87"),
    (Meant(_JETSON_CPU[:2]), "cortex-a57"),
    (Meant(_JETSON_CPU[2:3]), "carmel"),
    (Meant(_JETSON_CPU[3:]), "cortex-a78 cortex-a78ae"),
    (Meant(("cuda-sm_75", "cuda-sm_86", "jetson-orin")), "cuda gpu nvptx"),
    (Meant(("cuda-sm_61",)), "sm_61 pascal gtx1080 p4"),
    (Meant(("cuda-sm_75",)), "sm_75 turing t4"),
    (Meant(("cuda-sm_80",)), "sm_80 ampere a100"),
    (Meant(("cuda-sm_86",)), "sm_86 rtx3080 rtx3090 a10"),
    (Meant(("cuda-sm_89",)), "sm_89 ada l4 rtx4090"),
    (Meant(("cuda-sm_90",)), "sm_90 hopper h100 h200"),
    (Meant((), _GPU), "rocm opencl vulkan metal"),
    (Meant(("edgetpu",)), "tpu coral coral-usb google-coral coral-dev-board coral-usb-accelerator"),
    (Meant(("litert",)), "tflite tensorflow-lite tflite-micro litert-micro tflm ethos-u vela"),
    (Meant(("ncs2",)), "ncs myriad myriad-x movidius openvino vpu neural-compute-stick"),
    (Meant(("armv8-a", "armv7-a+neon")), "arm neon cortex-a"),
    (Meant(("armv8-a",)),
     "aarch64 arm64 armv8 armv8-a+neon armv8.0 armv8.0-a arm64-v8a cortex-a35 cortex-a73"),
    (Meant(("armv8.2-a+dotprod",)),
     "dotprod armv8.2 armv8.2-a cortex-a55 cortex-a75 cortex-a77 neoverse-n1 graviton2"),
    (Meant(("armv8.6-a+i8mm",)),
     "i8mm armv8.6 armv8.6-a cortex-a510 cortex-a710 neoverse-n2 neoverse-v1 graviton3 graviton4"),
    (Meant(("armv7-a+neon",)), "armv7 armv7l armv7-a armv7hf armhf arm32 armeabi-v7a cortex-a17"),
)  # fmt: skip


def key(name: str) -> str:
    """A name without case and what separates its words."""
    return re.sub(r"[\s_.+/-]+", "", name.casefold())


ALIASES: Mapping[str, Meant] = {key(name): meant for meant, names in _TABLE for name in names.split()}


def meant_by(name: str, known: Collection[str]) -> Meant:
    """What is meant by a name that is none of the `known`: by an alias, else by the nearest of both."""
    keys = {key(row): Meant((row,)) for row in known}
    aliases = {alias: Meant(tuple(r for r in m.rows if r in known), m.note) for alias, m in ALIASES.items()}
    exact = keys.get(key(name)) or aliases.get(key(name))
    near = exact or keys.get(key(nearest(name, known) or ""))
    return near or aliases.get(nearest(key(name), aliases, 0.8) or "", Meant(()))
