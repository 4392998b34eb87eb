"""Which processor features the instructions of a kernel need, told apart from the code generator.

ARM's code is read again by clang's assembler, which knows exactly the features of a row and refuses
any other instruction. The assembler of x86 takes them all: there a table says what each one needs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from secateur.codegen.targets.target import Target

_SETTINGS = re.compile(r"^\s*\.(cpu|fpu|arch|arch_extension)\b.*$", re.M)  # what code says of itself
_ARM = {"aarch64": ("aarch64-linux-gnu", "generic"), "armv7": ("arm-linux-gnueabihf", "generic+v7a")}


def refused(assembly: str, target: Target, folder: Path) -> list[str]:
    """What the architecture with the features of the target's row alone does not have; one line each."""
    if target.cpu.architecture == "x86_64":
        return sorted(_missing(assembly, set(target.features)))
    return _assembled(_SETTINGS.sub("", assembly), target, folder)


def _assembled(assembly: str, target: Target, folder: Path) -> list[str]:
    triple, cpu = _ARM[target.cpu.architecture]
    (folder / "code.s").write_text(assembly)
    features = "".join(f"+{name.replace('-', '_')}" for name in target.features)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, f"-mcpu={cpu}{features}"]
    done = subprocess.run(
        [*command, "-c", "code.s", "-o", "code.o"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    found = re.findall(r"(?:error|note): (.*requires.*|invalid instruction.*)", done.stderr)
    assert found or done.returncode == 0, done.stderr
    return sorted(set(found))


# x86 -----------------------------------------------------------------------------------------------

_ROWS = (  # a feature, mnemonics that need it; the first row that fits counts
    ("amx-int8", r"tdpb[us][us]d"),
    ("amx-tile", r"(ldtile|sttile)cfg|tile\w+"),
    ("avx512vnni", r"vpdp(busd|wssd)s?"),
    ("avx512vbmi", r"vperm(b|i2b|t2b)|vpmultishiftqb"),
    ("avx512vbmi2", r"vp(compress|expand)[bw]|vpsh[lr]dv?[wdq]"),
    ("avx512ifma", r"vpmadd52\w+"),
    ("avx512bitalg", r"vpopcnt[bw]|vpshufbitqmb"),
    ("avx512vpopcntdq", r"vpopcnt[dq]"),
    ("avx512bf16", r"vdpbf16ps|vcvtne2?ps2?bf16\w*"),
    ("f16c", r"vcvtph2psx?|vcvtps2phx?"),
    ("avx512fp16", r"v\w+[ps]h"),
    ("gfni", r"v?gf2p8\w+"),
    ("aes", r"v?aes\w+"),
    ("pclmul", r"v?pclmul\w+"),
    ("sha", r"sha(1|256)\w+"),
    ("fma", r"vfn?m(add|sub)\w+"),
    ("movbe", r"movbe[wlq]?"),
    ("bmi", r"andn[lq]?|bextr[lq]?|bls(i|r|msk)[lq]?|tzcnt[wlq]?"),
    ("bmi2", r"(bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx)[lq]?"),
    ("lzcnt", r"lzcnt[wlq]?"),
    ("popcnt", r"popcnt[wlq]?"),
    ("adx", r"ad[co]x[lq]?"),
    ("prfchw", r"prefetchw"),
    (
        "avx2",
        r"vbroadcasti128|v(insert|extract)i128|vperm(d|q|ps|pd)|vps[lr][lr]v[dq]|vpblendd|vpbroadcast\w",
    ),
    ("avx2", r"vp?gather\w+|vpmaskmov\w"),
    ("avx", r"v\w+"),
    ("sse4.2", r"pcmpgtq|pcmp[ei]str[im]|crc32\w"),
    ("sse4.1", r"pmul(ld|dq)|pmov[sz]x\w+|pm(in|ax)(s[bd]|u[wd])|p?blendv?(b|w|ps|pd)|round[ps][sd]|ptest"),
    ("sse4.1", r"p(insr|extr)[bdq]|insertps|extractps|packusdw|dpp[sd]|mpsadbw|movntdqa|phminposuw|pcmpeqq"),
    ("ssse3", r"pshufb|pabs[bwd]|ph(add|sub)\w+|pmaddubsw|pmulhrsw|palignr|psign[bwd]"),
    ("sse3", r"movs[hl]dup|movddup|h(add|sub)p[sd]|addsubp[sd]|lddqu|fisttp\w*"),
)
_BRINGS = {  # what a feature has others in it
    "avx512vnni": "avx512f", "avx512vl": "avx512f", "avx512f": "avx2 f16c fma", "avx2": "avx", "f16c": "avx",
    "fma": "avx", "avx": "sse4.2", "sse4.2": "sse4.1", "sse4.1": "ssse3", "ssse3": "sse3",
}  # fmt: skip
_EVEX = re.compile(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])\b|\{1to\d+\}")


@cache
def _closure(features: frozenset[str]) -> frozenset[str]:
    more = {inner for name in features for inner in _BRINGS.get(name, "").split()}
    return features if more <= features else _closure(features | more)


def _missing(assembly: str, features: set[str]) -> Iterator[str]:
    present = _closure(frozenset(features))
    found = {(need, line.split()[0]) for line in _instructions(assembly) for need in needs(line)}
    return (f"{mnemonic} requires {need}" for need, mnemonic in found if need not in present)


def _instructions(assembly: str) -> Iterator[str]:
    lines = (line.partition("#")[0].strip() for line in assembly.splitlines())
    return (line for line in lines if line and not line.startswith(".") and not line.endswith(":"))


def needs(instruction: str) -> set[str]:
    """The features beyond SSE2 that an x86-64 instruction (AT&T) needs."""
    mnemonic, _, operands = instruction.partition("\t") if "\t" in instruction else instruction.partition(" ")
    found = {*[feature for feature, pattern in _ROWS if re.fullmatch(pattern, mnemonic)][:1]}
    if _EVEX.search(operands):
        found.add("avx512f")
        if "%zmm" not in operands and re.search(r"%[xy]mm", operands):
            found.add("avx512vl")
    elif mnemonic.startswith("vp") and "%ymm" in operands:
        found.add("avx2")
    return found
