"""README.md and docs/ are run: every `sh` and `python` block, in order, in one scratch folder.

A block that is not to be run is marked `text`. Lines that set up the checkout
(`make`, `git clone`, activating the environment) are left out: that has been done
for what is running this test. A profile of a whole network is estimated, not measured,
which takes a minute; `tests/tools/cli/commands/test_profile.py` measures one of a small network.
Blocks share one import of the compiler (`served.py`).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.repository.served import Served, served
from tests.shorter import NAMES, shorter

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
IMAGES = 8
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PROFILE = re.compile(r"^(secateur profile .*-o \S+)$", re.MULTILINE)
SETUP = ("make ", "git clone ", ". .venv/bin/activate")


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks as (language, content)."""
    return FENCE.findall(text)


def runnable(content: str) -> str:
    """A shell block without the lines that set up the checkout, and with estimates for measurements."""
    kept = "".join(line for line in content.splitlines(True) if not line.startswith(SETUP))
    return PROFILE.sub(r"\1 --analytic", kept)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as found:
        yield found


def command(language: str, content: str, commands: Served) -> list[str]:
    if language == "sh":
        return ["bash", "-euo", "pipefail", "-c", runnable(content)]
    return [str(commands.python), content]


def run(language: str, content: str, folder: Path, commands: Served) -> None:
    """Runs one block; a block that fails is shown with its output."""
    path = f"{commands.folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command(language, content, commands), cwd=folder, env={**os.environ, "PATH": path},
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert done.returncode == 0, f"{content}\n{done.stdout}"


def lay_out_examples(folder: Path) -> None:
    """The checkout's, but networks of fewer blocks and fewer images: all would take long."""
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "resnet20.onnx").symlink_to(shorter(name))
        for images in EXAMPLES.glob(f"{name}/*.npz"):
            with np.load(images) as whole:
                np.savez(folder / name / images.name, **{key: array[:IMAGES] for key, array in whole.items()})
        shutil.copy(EXAMPLES / name / "data.py", folder / name)  # it reads the images beside it
    for path in [*EXAMPLES.glob("*/"), *(path for name in NAMES for path in EXAMPLES.glob(f"{name}/*"))]:
        if not (place := folder / path.relative_to(EXAMPLES)).exists():
            place.symlink_to(path)


def run_page(page: str, folder: Path, commands: Served) -> None:
    lay_out_examples(folder / "examples")
    for language, content in blocks(page):
        if language in ("sh", "python"):
            run(language, content, folder, commands)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path, commands: Served) -> None:
    run_page(page.read_text(), tmp_path, commands)


def test_tour_uses_every_command() -> None:
    shown = " ".join(runnable(content) for language, content in blocks((ROOT / "README.md").read_text())
                     if language == "sh")  # fmt: skip
    used = set(re.findall(r"secateur (\w+)", shown))
    assert used >= {"compile", "select", "run", "inspect", "opt", "bench", "compare", "targets", "doctor"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {language for language, _ in blocks(page.read_text())} <= {"sh", "python", "text", "c"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(
    "block",
    [
        "sh\nfalse",
        "python\nraise SystemExit(3)",
        "python\nraise SystemExit('no')",
        "python\nnobody",
        "python\nimport os; os.abort()",
        "sh\nsecateur compile nobody.onnx -o a.so",
        "sh\nsecateur targets | false",
    ],
)
def test_failing_block_is_noticed(block: str, tmp_path: Path, commands: Served) -> None:
    with pytest.raises(AssertionError, match=re.escape(block.split("\n")[1])):
        run_page(f"```{block}\n```\n", tmp_path, commands)


def test_blocks_are_apart_and_see_their_folder(tmp_path: Path, commands: Served) -> None:
    first = "import os, sys\nopen('a', 'w').write(__name__)\nos.environ['OURS'] = sys.path[0] + 'x'\n"
    second = "import os\nassert 'OURS' not in os.environ and 'sys' not in globals()\n"
    third = "secateur --version | grep secateur > b\n"
    page = f"```python\n{first}```\n```python\n{second}```\n```sh\n{third}```\n"
    run_page(page, tmp_path, commands)
    assert (tmp_path / "a").read_text() == "__main__"
    assert (tmp_path / "b").read_text().startswith("secateur ")


def test_failure_inside_a_block_is_noticed(tmp_path: Path, commands: Served) -> None:
    with pytest.raises(AssertionError, match="no-such-file"):
        run_page("```sh\ncat no-such-file | cat\ntrue\n```\n", tmp_path, commands)


def test_setup_lines_are_left_out(tmp_path: Path, commands: Served) -> None:
    run_page("```sh\nmake no-such-target\ntouch made\n```\n", tmp_path, commands)
    assert (tmp_path / "made").exists()


def test_a_profile_is_estimated() -> None:
    (content,) = (c for _, c in blocks((ROOT / "README.md").read_text()) if "-o host.json" in c)
    assert "-o host.json --analytic\n" in runnable(content)
