"""Guards that looking at a long call costs other calls nothing: its page holds the hub for a moment at a time."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import gevent
import pytest

from kav.console.account import account
from kav.console.call_page import NEWEST, REFRESH_MS
from tests.console.desk import Place, Visitor, going_on

TURNS, MARKS = 180, 17
"""A quarter of an hour."""
LONGEST_HOLD_S = 0.005


def on_record(place: Place, call_sid: str = "CAlong") -> str:
    """A long call that is over."""
    now, at_ms = datetime.now(UTC), 0
    place.kav.records.save_call(call_sid, created_at=now, ended_at=now + timedelta(seconds=890), end_reason="goodbye")
    for number in range(1, TURNS + 1, 2):
        marks = json.dumps([at_ms + 400 * place for place in range(MARKS)])
        bot: dict[str, Any] = {"who": "bot", "kind": "speak", "text": "שלום " * 20, "audio_ms": 7000, "latency_ms": 700}
        place.kav.records.save_turn(call_sid, number, at_ms=at_ms, marks=marks, **bot)
        caller: dict[str, Any] = {"who": "caller", "kind": "caller", "text": "כן בבקשה " * 4, "audio_ms": 2000}
        saved = place.kav.records.save_turn(call_sid, number + 1, at_ms=at_ms + 9500, **caller)
        at_ms += 9900
    assert saved.wait(20)
    return call_sid


def goes_on(call_sid: str = "CAlive") -> str:
    """One that goes on."""
    talk = going_on(call_sid)["conversation"]
    assert talk is not None
    chronicle = talk.chronicle
    chronicle.begin()
    for number in range(TURNS // 2):
        chronicle.now = number * 9.9
        chronicle.spoke(f"r{number}", f"i{number}", 56_000, "speak", "", "he")
        chronicle.words(f"r{number}", f"{number}: " + "שלום " * 20, "name")
        for _ in range(MARKS):
            chronicle.now += 0.4
            chronicle.marked(f"i{number}")
        chronicle.speech_began(over_bot=False)
        chronicle.now += 2
        chronicle.caller_turn(f"c{number}", "name")
        chronicle.caller_words(f"c{number}", "כן בבקשה " * 4)
    return call_sid


def longest_hold_s(operator: Visitor, path: str) -> float:
    """How long others wait at most while a page is made, in CPU time: what else the machine does is not the page's."""
    held, over = [0.0], False

    def other() -> None:
        while not over:
            began = time.thread_time()
            gevent.sleep(0)
            held.append(time.thread_time() - began)

    waiting = gevent.spawn(other)
    gevent.sleep(0)
    try:
        assert operator.get(path).status_code == 200
    finally:
        over = True
        waiting.join()
    return max(held)


@pytest.mark.parametrize("path", ["CAlong", "CAlive", "CAlive?all=1"])
def test_no_piece_of_a_long_calls_page_holds_the_hub(place: Place, path: str) -> None:
    on_record(place) if path == "CAlong" else goes_on()
    operator = place.operator()
    held = [longest_hold_s(operator, f"/console/calls/{path}") for _ in range(6)][1:]
    assert min(held) < LONGEST_HOLD_S, held


def test_twice_as_many_turns_are_told_in_twice_the_time() -> None:
    def took_s(turns: int) -> float:
        row: dict[str, Any] = {
            "text": "x",
            "heard": "x",
            "audio_ms": 9,
            "heard_ms": None,
            "kind": "",
            "phrase": "",
            "language": "he",
        }
        row |= {"step": "", "latency_ms": None, "judge_ms": None, "marks": "[]"}
        rows = [
            {**row, "number": number, "who": ("bot", "caller")[number % 2], "at_ms": number} for number in range(turns)
        ]
        judged = [{"name": "unclear", "at_ms": number} for number in range(0, turns, 2)]
        began = time.process_time()
        account({"turns": rows, "tool_calls": judged}, None)
        return time.process_time() - began

    assert min(took_s(4000) for _ in range(3)) < 4 * min(took_s(2000) for _ in range(3))


def test_of_a_long_call_that_goes_on_the_latest_turns_are_shown_and_the_others_on_demand(place: Place) -> None:
    operator, call_sid = place.operator(), goes_on()
    page = operator.get(f"/console/calls/{call_sid}").text
    numbers = [int(number) for number in re.findall(r'<li id="turn-(\d+)"', page)]
    assert numbers == list(range(TURNS - NEWEST + 1, TURNS + 1))
    assert len(re.findall(r"<td[^>]*>[^<]*<bdi>\d+\.\d\d, ", page)) == NEWEST // 2, "so does the table of the picture"
    (whole,) = re.findall(rf'<p[^>]* id="earlier"><a href="([^"]+)">[^<]*{TURNS - NEWEST}', page)
    everything = operator.get(whole).text
    assert len(re.findall(r'<li id="turn-\d+"', everything)) == TURNS
    often, seldom = (int(re.findall(r'data-refresh-ms="(\d+)"', html)[0]) for html in (page, everything))
    assert often == REFRESH_MS < seldom
