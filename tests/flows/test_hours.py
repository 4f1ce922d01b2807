"""Guards opening hours: real days, real times, a real time zone, no overlap."""

from pathlib import Path

import pytest

from tests.flows.files import SMALL, faults_of, flow_of


def hours(*lines: str) -> str:
    return SMALL + "hours:\n" + "".join(f"  {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["sun: 08:00-18:00"], "19: hours.timezone: it is missing; name the place"),
        (
            ["timezone: Asia/Jerusalen", "sun: 08:00-18:00"],
            "19: hours.timezone: there is no time zone `Asia/Jerusalen`; did",
        ),
        (["timezone: Israel time", "sun: 08:00-18:00"], "19: hours.timezone: there is no time zone `Israel time`; "),
        (["timezone: UTC"], "19: hours.sun: no day is named; write e.g. `sun-thu: 08:00-18:00`"),
        (["timezone: UTC", "sunday: 08:00-18:00"], "20: hours.sunday: this is no day; use sun, mon"),
        (["timezone: UTC", "sun-thur: 08:00-18:00"], "20: hours.sun-thur: this is no day; use sun, mon"),
        (
            ["timezone: UTC", "sun: 8-18"],
            "20: hours.sun: `8-18` are no hours; write them like 08:00-18:00, or `closed`",
        ),
        (["timezone: UTC", "sun: 08:00-18:60"], "20: hours.sun: `08:00-18:60` is no time of day; use 00:00 to 24:00"),
        (["timezone: UTC", "sun: 08:00-24:01"], "20: hours.sun: `08:00-24:01` is no time of day; use 00:00 to 24:00"),
        (
            ["timezone: UTC", "sun: 20:00-02:00"],
            "20: hours.sun: `20:00-02:00` ends before it begins; hours past midnight",
        ),
        (["timezone: UTC", "sun: 08:00-08:00"], "20: hours.sun: `08:00-08:00` ends before it begins; hours past"),
        (["timezone: UTC", "sun: [08:00-13:00, 12:30-18:00]"], "20: hours.sun: two spans overlap at 12:30; join them"),
        (
            ["timezone: UTC", "sun-wed: closed", "tue: 08:00-09:00"],
            "21: hours.tue: tue has its hours already; name each",
        ),
        (["timezone: UTC", "sun:"], "20: hours.sun: nothing stands here; write a value"),
    ],
)
def test_impossible_hours_are_refused_with_their_line(tmp_path: Path, lines: list[str], said: str) -> None:
    (fault,) = faults_of(tmp_path, hours(*lines))
    assert fault.startswith(said), fault


@pytest.mark.parametrize(
    ("line", "days"),
    [
        ("sun-sat: 00:00-24:00", dict.fromkeys(("sun", "mon", "tue", "wed", "thu", "fri", "sat"), ("00:00-24:00",))),
        ("fri-sun: 8:00-9:05", dict.fromkeys(("fri", "sat", "sun"), ("08:00-09:05",))),
        ("mon: [16:00-19:00, 08:00-13:00]", {"mon": ("08:00-13:00", "16:00-19:00")}),
        ("mon: [08:00-13:00, 13:00-19:00]", {"mon": ("08:00-13:00", "13:00-19:00")}),
        ("mon: []", {}),
    ],
)
def test_days_have_their_spans_in_order(tmp_path: Path, line: str, days: dict[str, tuple[str, ...]]) -> None:
    found = flow_of(tmp_path, hours("timezone: Asia/Jerusalem", line)).hours
    assert found is not None
    assert list(found.days) == ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
    assert {day: spans for day, spans in found.days.items() if spans} == days
