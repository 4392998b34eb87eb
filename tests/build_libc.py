"""Builds what zig links programs and libraries with, for every kind of processor, where it is missing."""

from concurrent.futures import ThreadPoolExecutor

from secateur.codegen.link import STATIC, static_triple
from secateur.codegen.targets.rows import PROCESSORS
from secateur.codegen.toolchain import Toolchain
from secateur.ir.support.unfinished import temporary_folder

from .libc import CACHE, share_builds

PROGRAM = "int main(void) { return 0; }\n"
SHARED = ("-O2", "-shared", "-s", "-Wl,--build-id=none")


def build(triple: str) -> None:
    """A program for a board with nothing else on it needs all of musl; others are of the board's own libc."""
    with temporary_folder("secateur-") as folder:
        (folder / "main.c").write_text(PROGRAM)
        tools = Toolchain(triple, share_builds(CACHE))
        objects = [tools.compile(folder, "main.c", "main.o")]
        for flags in (STATIC, SHARED) if "musl" in triple else (SHARED,):
            tools.link(folder, flags, objects, "main")


def main() -> None:
    """Several at once: zig takes one core for each."""
    triples = {
        make(t.cpu) for t in PROCESSORS.values() for make in (static_triple, lambda cpu: cpu.zig_triple)
    }
    print("libc for every kind of processor: minutes where it was not built before", flush=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(build, sorted(triples, reverse=True)))


if __name__ == "__main__":
    main()
