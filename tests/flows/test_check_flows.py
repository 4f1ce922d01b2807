"""Guards `flask --app app check-flows`: a line for each file that is right, one for each fault, and the exit status."""

from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from kav import commands
from kav.settings import Settings
from tests.flows.files import SMALL, write


def check(*arguments: str, flows: str = "") -> Result:
    app = Flask("kav-check-flows")
    app.config["KAV_SETTINGS"] = Settings(_env_file=None, KAV_FLOWS=flows)  # type: ignore[call-arg]  # pydantic-settings' own
    commands.init_app(app)
    result: Result = app.test_cli_runner().invoke(args=["check-flows", *arguments])
    return result


def test_each_file_that_is_right_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, SMALL)
    result = check(".")
    assert (result.exit_code, result.output) == (0, "bakery.yaml: ok (bakery; inbound; +97231110042; 3 steps)\n")


def test_without_a_folder_those_are_checked_that_kav_runs_with(tmp_path: Path) -> None:
    write(tmp_path, SMALL)
    result = check(flows=str(tmp_path))
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    assert "bakery.yaml: ok" in result.output


def test_one_file_is_checked_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, SMALL)
    write(tmp_path, SMALL.replace("yes_no", "maybe"), "other.yaml")
    good, faulty = check("bakery.yaml"), check("other.yaml")
    assert (good.exit_code, good.output) == (0, "bakery.yaml: ok (bakery; inbound; +97231110042; 3 steps)\n")
    assert (faulty.exit_code, faulty.output.count("\n"), faulty.output[:15]) == (1, 1, "other.yaml:14: ")
    missing = check("nowhere.yaml")
    assert (missing.exit_code, "there are no flow files here" in missing.output) == (1, True)


def test_each_fault_has_a_line_and_the_command_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine", SMALL)
    write(tmp_path / "mine", SMALL.replace("yes_no", "maybe").replace("gender", "x") + "x: y\n", "other.yaml")
    result = check("mine")
    assert result.exit_code == 1
    ours, *faults = result.output.splitlines()
    assert ours.startswith("mine/bakery.yaml: ok")
    assert [fault.partition(": ")[0] for fault in faults] == ["mine/other.yaml:14", "mine/other.yaml:18"]


def test_without_a_folder_the_shipped_flows_are_checked_and_their_secrets_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CLINIC_API_TOKEN", raising=False)
    result = check()
    assert result.exit_code == 0, result.output
    needed = "needs CLINIC_API_TOKEN in the environment"
    assert f"clinic.yaml: ok (clinic; inbound; +97231110002; 7 steps; {needed}, which is not set" in result.output
    monkeypatch.setenv("CLINIC_API_TOKEN", "t")
    assert f"{needed})" in check().output
    assert "default.yaml: ok (default; inbound; default; 0 steps)" in result.output
