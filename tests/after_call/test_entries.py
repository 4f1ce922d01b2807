"""Guards what a report takes from a call's entry: a test call from the console's page is known as one."""

from pathlib import Path

import pytest

import stream_registry
from kav.after_call import report_of
from kav.flow_files import read_flow
from stream_registry import Line
from tests.flows.files import SMALL, write


@pytest.mark.parametrize(("line", "is_test"), [("twilio", False), ("browser", True)])
def test_a_call_from_the_console_s_page_is_known_as_a_test(tmp_path: Path, line: Line, is_test: bool) -> None:
    flow = read_flow(write(tmp_path, SMALL))
    entry = stream_registry.register(
        "CA_entry", direction="inbound", flow=flow, from_number="+972501234567", to_number="+97231110042", line=line
    )
    try:
        assert report_of(entry).is_test is is_test
    finally:
        stream_registry.remove(entry)
