"""Guards telephone numbers in flow files: E.164 alone, and the remedy is the E.164 form where there is one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.flow_files.telephone import E164, remedy
from tests.flows.files import SMALL, changed, faults_of


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("+972 3-111-0042", "write +97231110042"),
        ("+972-(0)3-1110042", "write +97231110042"),
        ("+97203-1110042", "write +97231110042"),
        ("00972 3 1110042", "write +97231110042"),
        ("972-3-1110042", "write +97231110042"),
        ("\u202a+972\u00a03\u20111110042\u202c", "write +97231110042"),  # as copied from a right-to-left page
        ("+1 (202) 555-0143", "write +12025550143"),
        ("03-1110042", "write the number with its country, in Israel +97231110042"),
        ("0501110042", "write the number with its country, in Israel +972501110042"),
        ("*2700", "write the whole number with + and its country"),
        ("555-0143", "write the whole number with + and its country"),
        ("+972", "write the whole number with + and its country"),
        ("+9723111004200000", "write the whole number with + and its country"),
        ("call us", "write the whole number with + and its country"),
    ],
)
def test_another_form_is_refused_and_the_right_one_named(tmp_path: Path, written: str, said: str) -> None:
    (fault,) = faults_of(tmp_path, changed("[+97231110042]", f'["{written}"]'))
    assert fault.startswith(f"3: numbers: {written!r} is no number in E.164 form; {said}"), fault


def test_the_number_of_a_transfer_is_held_to_the_same(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, SMALL + "transfer:\n  announcement: רגע.\n  to: 03-1110009\n")
    assert fault.startswith("20: transfer.to: '03-1110009' is no number in E.164 form; write the number with its")


@given(st.text(alphabet="+0123456789 -().*", max_size=18))
def test_a_number_is_taken_or_the_form_that_is_named_would_be(written: str) -> None:
    said = remedy(written)
    if said is None:
        assert E164.fullmatch(written)
    elif said.startswith("write +"):
        assert remedy(said.removeprefix("write ")) is None
