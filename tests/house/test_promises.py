"""Guards docs/promises.md: whatever it says holds a promise exists, and no scenario is without a promise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
SCENARIOS = {path.stem for path in (ROOT / "rehearsal" / "scenarios").glob("*.yaml")}
NAMED = re.findall(r"`([^`\s]+\.py)::(test_\w+)`", PROMISES)
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PROMISES.splitlines() if line[:3] != "|--"]
REHEARSED = {
    name
    for cells in ROWS
    if len(cells) in (3, 5) and re.fullmatch(r"\d+(\.\d+)?", cells[0])
    for name in re.findall(r"`([a-z_]+)`", cells[2])
}
PLACES = {
    place
    for cells in ROWS
    if len(cells) == 5 and re.fullmatch(r"\d+\.\d+", cells[0])
    for place in re.findall(r"`([^`]+)`", cells[4])
}


def collected(paths: list[str]) -> set[tuple[str, str]]:
    """What pytest itself finds in these modules: path below tests/, and name."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-o", "addopts=", *paths]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert found.returncode == 0, found.stdout[-2000:]
    return set(re.findall(r"^tests/([\w/]+\.py)::(\w+)", found.stdout, re.MULTILINE))


@pytest.mark.timeout(240)  # every module is imported once more, in a process of its own
def test_every_test_that_is_named_is_there() -> None:
    assert len(NAMED) > 100, "the document is read wrongly"
    paths = sorted({path for path, _name in NAMED})
    assert [path for path in paths if not (ROOT / "tests" / path).is_file()] == []
    gone = set(NAMED) - collected([f"tests/{path}" for path in paths])
    assert sorted(gone) == [], "docs/promises.md names these: write there which tests hold those promises now"


def test_every_scenario_holds_a_promise_and_none_is_made_up() -> None:
    assert sorted(SCENARIOS - REHEARSED) == [], "docs/promises.md has no promise that these play: add them there"
    assert sorted(REHEARSED - SCENARIOS - {"closed_within_s", "answers"}) == []


def test_every_place_that_decides_is_there() -> None:
    assert PLACES
    assert sorted(place for place in PLACES if not (ROOT / place).exists()) == []


def test_every_promise_has_a_number_of_its_own_and_something_that_holds_it() -> None:
    rows = [cells for cells in ROWS if re.fullmatch(r"\d+\.\d+", cells[0])]
    assert [cells[1] for cells in rows if "::test_" not in cells[3]] == []
    numbers = [cells[0] for cells in rows if cells[0] != "1.5"]  # two halves of one promise
    assert len(numbers) == len(set(numbers))
