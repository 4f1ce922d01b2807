"""What a flow says about how much of it there may be at a time."""

from typing import Final

from kav.flow_files.section import Section

MOST_CALLS: Final = 1000
"""More than any one process carries."""


def read_max_calls(section: Section) -> int:
    """Return how many calls of the flow may go on at a time; 0 when the file does not say."""
    group = section.section("limits")
    if group is None:
        return 0
    group.require("calls", "write how many calls may go on at a time, e.g. `calls: 3`")
    calls = group.whole("calls", 1, MOST_CALLS, MOST_CALLS)
    group.finish()
    return calls
