"""README.md and docs/ are run: every `sh` and `python` block, in order, in one scratch folder.

A block that is not to be run is marked `text`. Lines that set up the checkout
(`make`, `git clone`, activating the environment) are left out: that has been done
for what is running this test. A profile of a whole network is estimated, not measured,
which takes a minute; `tests/tools/cli/commands/test_profile.py` measures one of a small network.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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


def command(language: str, content: str) -> list[str]:
    if language == "sh":
        return ["bash", "-euo", "pipefail", "-c", runnable(content)]
    return [sys.executable, "-c", content]


def run(language: str, content: str, folder: Path) -> None:
    """Runs one block; a block that fails is shown with its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command(language, content), cwd=folder, env={**os.environ, "PATH": path}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert done.returncode == 0, f"{content}\n{done.stdout}"


def run_page(page: str, folder: Path) -> None:
    (folder / "examples").symlink_to(ROOT / "examples")
    for language, content in blocks(page):
        if language in ("sh", "python"):
            run(language, content, folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    run_page(page.read_text(), tmp_path)


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


@pytest.mark.parametrize("page", ["```sh\nfalse\n```\n", "```python\nraise SystemExit(3)\n```\n"])
def test_failing_block_is_noticed(page: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"false|SystemExit"):
        run_page(page, tmp_path)


def test_failure_inside_a_block_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no-such-file"):
        run_page("```sh\ncat no-such-file | cat\ntrue\n```\n", tmp_path)


def test_setup_lines_are_left_out(tmp_path: Path) -> None:
    run_page("```sh\nmake no-such-target\ntouch made\n```\n", tmp_path)
    assert (tmp_path / "made").exists()


def test_a_profile_is_estimated() -> None:
    (content,) = (c for _, c in blocks((ROOT / "README.md").read_text()) if "-o host.json" in c)
    assert "-o host.json --analytic\n" in runnable(content)
