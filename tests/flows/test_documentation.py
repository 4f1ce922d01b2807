"""Guards docs/flows.md: its example is a flow, and its faulty file brings the errors that it shows."""

import re
from pathlib import Path

import pytest

from kav.flow_files import FlowFileError, read_flow
from tests.flows.files import write

GUIDE = (Path(__file__).parents[2] / "docs" / "flows.md").read_text(encoding="utf-8")
RIGHT, WRONG = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
(ERRORS,) = re.findall(r"```\n(flows/.*?)```", GUIDE, re.DOTALL)


def test_the_example_is_a_complete_business(tmp_path: Path) -> None:
    flow = read_flow(write(tmp_path, RIGHT))
    assert (flow.id, len(flow.steps), flow.languages) == ("bakery", 3, ("he", "en"))


def test_the_faulty_example_brings_exactly_the_errors_that_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path, WRONG)
    with pytest.raises(FlowFileError) as caught:
        read_flow(path)
    assert str(caught.value).replace(str(path), "flows/bakery.yaml") == ERRORS.strip()
