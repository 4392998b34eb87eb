"""`secateur targets` and `secateur doctor`."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from secateur.codegen.targets.rows import TARGETS
from secateur.tools.cli.commands import doctor

from ...conftest import Cli

ROOT = Path(__file__).resolve().parents[4]


def test_targets_lists_every_row(cli: Cli) -> None:
    rows = cli("targets", "--json").json
    assert [row["name"] for row in rows] == ["host", *TARGETS]
    out = cli("targets").out
    assert all(name in out for name in TARGETS)


def test_doctor_finds_what_the_tests_run_on(cli: Cli) -> None:
    result = cli("doctor", "--json")
    assert result.code == 0
    found = {row["name"]: row for row in result.json["findings"]}
    assert found["numpy"]["found"] == importlib.metadata.version("numpy")
    assert result.json["ok"]


def test_doctor_names_the_line_that_installs_what_is_missing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = doctor.Finding("ziglang", "links", True, None, 'pip install "ziglang==0.17.*"')
    optional = doctor.Finding("qemu-arm", "runs", False, None, "apt-get install qemu-user")
    monkeypatch.setattr(doctor, "findings", lambda: iter((absent, optional)))
    result = cli("doctor")
    assert result.code == 1
    assert 'ziglang: pip install "ziglang==0.17.*"' in result.out
    assert "MISSING" in result.out
    assert "qemu-arm: apt-get install qemu-user" in result.out


def test_missing_optional_parts_are_no_failure(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    optional = doctor.Finding("qemu-arm", "runs", False, None, "apt-get install qemu-user")
    monkeypatch.setattr(doctor, "findings", lambda: iter((optional,)))
    assert cli("doctor").code == 0


def test_doctor_wants_the_versions_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["dev"]}
    assert {name + version for name, _, _, version in doctor._PACKAGES} <= wanted


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("0.27.0.post1", "==0.27.*", True),
        ("0.28.0", "==0.27.*", False),
        ("2.4.6", ">=2.0,<3", True),
        ("3.0", ">=2.0,<3", False),
        ("1.26.4", ">=2.0,<3", False),
        ("0.6", ">=0.6,<1", True),
        ("1.0.0rc1", ">=0.6,<1", False),
    ],
)
def test_version_ranges(version: str, wanted: str, fits: bool) -> None:
    assert doctor.satisfies(version, wanted) is fits
