"""Guards scenarios of calls that Kav places: read strictly, and left out where Kav cannot be asked for them."""

from pathlib import Path

import pytest

from rehearsal.__main__ import main
from rehearsal.scenario import FOLDER, ScenarioError, load

SMALL = """\
title: Somebody is called
outbound:
  flow: sales
  variables: {name: דנה}
steps:
  - hangs_up: true
"""


def read(folder: Path, text: str) -> str:
    """What is wrong with a scenario, without its path."""
    path = folder / "one.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as error:
        load(path)
    return str(error.value).removeprefix(f"{path}:")


def test_whoever_is_called_answers_and_is_a_person_unless_the_scenario_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(SMALL, encoding="utf-8")
    outbound = load(path).outbound
    assert outbound is not None
    assert (outbound.outcome, outbound.answered_by, outbound.to) == ("answered", "human", "")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("flow: sales\n", "", "2: outbound.flow: is missing; add it"),
        ("  variables", "  varables", "4: outbound.varables: there is no such field; did you mean `variables`?"),
        ("  variables", "  answered_by: robot\n  variables", "4: outbound.answered_by: input should be 'human'"),
        (
            "steps:",
            "from: '+972501234567'\nsteps:",
            "1: the scenario: `from` and `to` are those of a call that comes in",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_remedy(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SMALL
    assert read(tmp_path, SMALL.replace(old, new, 1)).startswith(told)


def test_a_kav_that_runs_already_is_not_asked_to_call_anybody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outbound = sorted(FOLDER.glob("outbound_*.yaml"))
    assert outbound
    nobody = "http://127.0.0.1:1"
    status = main(["--kav", nobody, "--model-port", "0", "--wav", str(tmp_path), *map(str, outbound)])
    told = capsys.readouterr()
    assert [path.name in told.out for path in outbound] == [True] * len(outbound)
    assert (status, "no Kav listens" in told.err) == (2, True)
