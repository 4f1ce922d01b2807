"""Guards the reading of flow files: a flow, or faults that point into the file; never anything else, and in time."""

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kav.flow_files import FOLDER, Fault, FlowFileError, read_flow
from tests.fuzz import NASTY, fuzzed, mutated

SHIPPED = [path.read_bytes() for path in sorted(FOLDER.glob("*.yaml"))]
LINES = [line for data in SHIPPED for line in data.splitlines(keepends=True)]
IN_TIME_S = 10.0
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9)) for name in range(ord("b"), ord("k"))
)


@st.composite
def shuffled(draw: st.DrawFn) -> bytes:
    """The lines of a file that is right, with some left out, doubled, moved, or from another file."""
    lines = draw(st.sampled_from(SHIPPED)).splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 3))] = draw(st.lists(st.sampled_from(LINES), max_size=2))
    return b"".join(lines)


@fuzzed
@given(mutated(SHIPPED) | shuffled() | NASTY.map(lambda text: text.encode(errors="surrogatepass")))
@example(BOMB)
@example(b"a: " + b"{" * 300)
@example(b"a: " + b"- " * 3_000)
@example(b"id: !!python/object/apply:os.system ['true']\n")
@example(b"a: &a\n  b: *a\n")
@example(b"<<: *x\n")
@example(b"? [a]\n: b\n")
@example(b"hours: {timezone: ../../etc/passwd, sun: ['00:00-24:00']}\n")
@example(b'hours: {timezone: "\\0"}\n')
def test_any_file_is_a_flow_or_has_faults(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(data)
    began = time.monotonic()
    faults: tuple[Fault, ...] = ()
    try:
        flow = read_flow(path)
    except FlowFileError as error:
        faults = error.faults
    assert faults or flow.steps or flow.greeting
    assert all(fault.line >= 1 and fault.what and fault.remedy for fault in faults)
    assert time.monotonic() - began < IN_TIME_S
