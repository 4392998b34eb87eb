"""Builds the libc that tests link statically, for every kind of processor; ends at once where it is there."""

from concurrent.futures import ThreadPoolExecutor

from secateur.codegen.link import STATIC, static_triple
from secateur.codegen.targets.rows import PROCESSORS
from secateur.codegen.toolchain import Toolchain
from secateur.ir.support.unfinished import temporary_folder

from .libc import CACHE, share_libc

PROGRAM = "int main(void) { return 0; }\n"


def build(triple: str) -> None:
    with temporary_folder("secateur-") as folder:
        (folder / "main.c").write_text(PROGRAM)
        tools = Toolchain(triple, share_libc(CACHE))
        tools.link(folder, STATIC, [tools.compile(folder, "main.c", "main.o")], "main")


def main() -> None:
    """All at once: zig takes one core for each."""
    triples = {static_triple(target.cpu) for target in PROCESSORS.values()}
    print(f"libc of {len(triples)} kinds of processors: minutes where it was not built before", flush=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(build, triples))


if __name__ == "__main__":
    main()
