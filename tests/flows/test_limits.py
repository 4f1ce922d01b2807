"""How many calls of a flow may go on at a time: said in the file, or as many as there is room for."""

from pathlib import Path

import pytest

from kav.flow_files import FlowFileError, read_flow
from tests.flows.files import write

FLOW = "id: x\nbusiness: x\nnumbers: [+97231110001]\nlanguages: [he]\ngreeting: x\nclosing: y\n"


def test_the_limit_is_read(tmp_path: Path) -> None:
    assert read_flow(write(tmp_path, FLOW + "limits: {calls: 3}\n")).max_calls == 3


def test_without_one_there_is_none(tmp_path: Path) -> None:
    assert read_flow(write(tmp_path, FLOW)).max_calls == 0


@pytest.mark.parametrize("limits", ["{calls: 0}", "{calls: many}", "{}", "3", "{calls: 3, callers: 2}"])
def test_a_limit_that_makes_no_sense_is_refused(tmp_path: Path, limits: str) -> None:
    with pytest.raises(FlowFileError, match="limits"):
        read_flow(write(tmp_path, FLOW + f"limits: {limits}\n"))
