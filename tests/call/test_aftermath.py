"""What is still due for a call when no media flows: decided by table, and for any order of what may happen."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call.aftermath import (
    LAST_UNHEARD_S,
    RETRY_FOR_S,
    UNHEARD_FOR_S,
    Chore,
    Facts,
    Patience,
    Retry,
    due,
    retry,
)

PATIENCE = Patience(prewarm_unclaimed_s=30, hangup_fallback_s=3, terminal_status_s=60, entry_ttl_s=120)
AT = 1000.0
"""When every call of these tests was created."""
NEW = Facts(
    created_at=AT,
    prewarmed=False,
    streaming=False,
    streamed=False,
    stream_lost_at=None,
    ended_at=None,
    ended_by_kav=False,
    handed_over=False,
    words_left=False,
    on_the_telephone=True,
    after_stream_at=None,
    terminal_at=None,
    done=frozenset(),
    human_s=300,
)
PREWARMED = replace(NEW, prewarmed=True)
LIVE = replace(NEW, streaming=True, streamed=True)
LOST = replace(NEW, streamed=True, stream_lost_at=AT + 50)
LOST_AND_ASKED = replace(LOST, after_stream_at=AT + 51)
FRESH_PREWARMED = replace(LOST_AND_ASKED, prewarmed=True)
ENDED = replace(NEW, streamed=True, ended_at=AT + 100, ended_by_kav=True)
ASKED = replace(ENDED, after_stream_at=AT + 101)
ASKED_BEFORE = replace(ENDED, after_stream_at=AT + 99)
APOLOGISED = replace(ENDED, words_left=True)
HANDED_OVER = replace(ENDED, handed_over=True)
HUNG_UP = replace(ENDED, ended_by_kav=False)
TOLD = replace(ENDED, terminal_at=AT + 101)


@pytest.mark.parametrize(
    ("facts", "after_s", "expected"),
    [
        (NEW, 0, []),
        (PREWARMED, 29, []),
        (PREWARMED, 30, [Chore.CLOSE_PREWARM]),
        (NEW, 119, []),
        (NEW, 120, [Chore.END_WITHOUT_STREAM]),
        (LIVE, 10_000, []),
        (LOST, 52, []),
        (LOST, 53, [Chore.END_LOST]),
        (LOST_AND_ASKED, 80, []),
        (LOST_AND_ASKED, 81, [Chore.END_WITHOUT_STREAM]),
        (FRESH_PREWARMED, 80, []),
        (FRESH_PREWARMED, 81, [Chore.CLOSE_PREWARM, Chore.END_WITHOUT_STREAM]),
        (ENDED, 102, [Chore.RECORD_END]),
        (ENDED, 103, [Chore.RECORD_END, Chore.HANG_UP]),
        (ENDED, 104.9, [Chore.RECORD_END, Chore.HANG_UP]),
        (ENDED, 160, [Chore.RECORD_END, Chore.HANG_UP, Chore.FETCH_STATUS, Chore.REPORT]),
        (ENDED, 220, [Chore.RECORD_END, Chore.HANG_UP, Chore.FETCH_STATUS, Chore.REPORT, Chore.FORGET]),
        (ASKED, 150, [Chore.RECORD_END, Chore.REPORT]),
        (ASKED_BEFORE, 103, [Chore.RECORD_END, Chore.HANG_UP]),
        (HANDED_OVER, 150, [Chore.RECORD_END]),
        (HANDED_OVER, 220, [Chore.RECORD_END]),  # a telephone may still ring, and the call come back
        (HANDED_OVER, 360, [Chore.RECORD_END, Chore.REPORT]),
        (HANDED_OVER, 459, [Chore.RECORD_END, Chore.REPORT]),  # they may still talk
        (HANDED_OVER, 460, [Chore.RECORD_END, Chore.FETCH_STATUS, Chore.REPORT]),
        (replace(HANDED_OVER, human_left_at=AT + 150), 209, [Chore.RECORD_END]),
        (replace(HANDED_OVER, human_left_at=AT + 150), 210, [Chore.RECORD_END, Chore.FETCH_STATUS]),
        (
            replace(HANDED_OVER, done=frozenset({Chore.FETCH_STATUS})),
            460,
            [Chore.RECORD_END, Chore.REPORT, Chore.FORGET],
        ),
        (HUNG_UP, 150, [Chore.RECORD_END, Chore.REPORT]),
        (HUNG_UP, 160, [Chore.RECORD_END, Chore.FETCH_STATUS, Chore.REPORT]),
        (TOLD, 101, [Chore.RECORD_END, Chore.RECORD_GHOST, Chore.REPORT]),
        (TOLD, 220, [Chore.RECORD_END, Chore.RECORD_GHOST, Chore.REPORT, Chore.FORGET]),
        (replace(TOLD, streaming=True), 220, []),
        (replace(ENDED, on_the_telephone=False), 160, [Chore.RECORD_END, Chore.RECORD_STATUS, Chore.REPORT]),
        (
            replace(TOLD, on_the_telephone=False),
            220,
            [Chore.RECORD_END, Chore.RECORD_STATUS, Chore.REPORT, Chore.FORGET],
        ),
    ],
)
def test_what_is_due_when(facts: Facts, after_s: float, expected: list[Chore]) -> None:
    assert due(facts, PATIENCE, AT + after_s) == expected


@pytest.mark.parametrize(
    ("facts", "draining", "after_s"), [(ENDED, True, 3), (APOLOGISED, False, 3), (APOLOGISED, True, 13)]
)
def test_words_that_twilio_may_be_saying_for_another_process_are_not_cut_off(
    facts: Facts, draining: bool, after_s: float
) -> None:
    patience = replace(PATIENCE, draining=draining)
    assert Chore.HANG_UP not in due(facts, patience, AT + 100 + after_s - 0.1)
    assert Chore.HANG_UP in due(facts, patience, AT + 100 + after_s)
    assert Chore.HANG_UP not in due(facts, replace(patience, draining=True, leaving=True), AT + 102)


def test_nothing_is_due_twice() -> None:
    done = frozenset({Chore.RECORD_END, Chore.HANG_UP, Chore.REPORT})
    assert due(replace(ENDED, done=done), PATIENCE, AT + 160) == [Chore.FETCH_STATUS]


def test_a_chore_that_failed_for_a_passing_reason_is_due_again_and_the_entry_stays_until_then() -> None:
    failed = replace(ENDED, retries={Chore.HANG_UP: Retry(1, AT + 230, AT + 225)})
    assert Chore.HANG_UP not in due(failed, PATIENCE, AT + 229)
    assert Chore.FORGET not in due(failed, PATIENCE, AT + 229)
    assert Chore.HANG_UP in due(failed, PATIENCE, AT + 230)
    done = replace(failed, done=frozenset({Chore.HANG_UP, Chore.FETCH_STATUS}))
    assert Chore.FORGET in due(done, PATIENCE, AT + 230)
    told = due(replace(failed, terminal_at=AT + 225), PATIENCE, AT + 230)
    assert (Chore.HANG_UP in told, Chore.FORGET in told) == (False, True), "the status came"


def test_what_fails_again_and_again_is_tried_ever_more_rarely_and_then_given_up() -> None:
    now, failed, pauses = AT, None, list[float]()
    while (failed := retry(failed, now)) is not None:
        pauses.append(failed.due_at - now)
        now = failed.due_at
    assert pauses[:5] == [5, 10, 20, 40, 60]
    assert set(pauses[5:]) == {60}
    assert RETRY_FOR_S - 60 < now - AT <= RETRY_FOR_S


def test_a_call_that_may_go_on_with_a_human_is_asked_about_for_a_day_and_ever_more_rarely() -> None:
    now, asked, pauses = AT, Retry(0, AT, AT), list[float]()
    while (again := retry(asked, now, last_s=LAST_UNHEARD_S, for_s=UNHEARD_FOR_S)) is not None:
        pauses.append(again.due_at - now)
        now, asked = again.due_at, again
    assert pauses[:8] == [5, 10, 20, 40, 80, 160, 320, 600]
    assert set(pauses[8:]) == {600}
    assert UNHEARD_FOR_S - 600 < now - AT <= UNHEARD_FOR_S


def test_a_call_that_was_handed_over_is_told_of_once_it_cannot_come_back() -> None:
    assert Chore.REPORT not in due(HANDED_OVER, PATIENCE, AT + 219)
    assert Chore.REPORT in due(replace(HANDED_OVER, terminal_at=AT + 160), PATIENCE, AT + 160)


@pytest.mark.parametrize("facts", [ENDED, HANDED_OVER, HUNG_UP])
def test_a_process_that_stops_tells_of_its_calls_first(facts: Facts) -> None:
    assert Chore.REPORT not in due(facts, PATIENCE, AT + 100)
    assert Chore.REPORT in due(facts, replace(PATIENCE, leaving=True), AT + 100)
    assert Chore.FORGET not in due(facts, replace(PATIENCE, leaving=True), AT + 100)


class Life:
    """A call's entry as the webhooks, the streams and the aftermath change it; knows when it may be hung up."""

    def __init__(self) -> None:
        self.facts = PREWARMED
        self.now = AT
        self.did: Counter[Chore] = Counter()

    @property
    def forgotten(self) -> bool:
        return Chore.FORGET in self.did

    def happen(self, what: str, seconds: float) -> None:
        """Let something happen, if it can happen now."""
        facts = self.facts
        if self.forgotten:
            return  # nobody finds the entry any more
        if what == "wait":
            self.now += seconds
        elif what == "stream" and not facts.streaming and facts.ended_at is None:
            self.facts = replace(facts, streaming=True, streamed=True, prewarmed=False)
        elif what == "lost" and facts.streaming:
            self.facts = replace(facts, streaming=False, stream_lost_at=self.now)
        elif what == "ask" and not facts.streaming:
            self.facts = replace(facts, after_stream_at=self.now, prewarmed=facts.ended_at is None)
        elif what in ("kav_ends", "hand_over", "caller_ends"):
            self.end(by_kav=what != "caller_ends", handed_over=what == "hand_over")
        elif what == "status":
            self.end(by_kav=False)
            self.facts = replace(self.facts, terminal_at=self.facts.terminal_at or self.now)
        self.look()

    def end(self, *, by_kav: bool, handed_over: bool = False) -> None:
        if self.facts.ended_at is None:
            ended = replace(self.facts, ended_at=self.now, ended_by_kav=by_kav, handed_over=handed_over)
            self.facts = replace(ended, streaming=False)

    def look(self) -> None:
        """One round of the aftermath."""
        for chore in due(self.facts, PATIENCE, self.now):
            self.did[chore] += 1
            self.facts = replace(self.facts, done=self.facts.done | {chore})
            if chore is Chore.HANG_UP:
                self.may_hang_up()
            elif chore in (Chore.END_LOST, Chore.END_WITHOUT_STREAM):
                self.end(by_kav=True)
            elif chore is Chore.CLOSE_PREWARM:
                self.facts = replace(self.facts, prewarmed=False)

    def may_hang_up(self) -> None:
        facts = self.facts
        assert facts.ended_at is not None, "a call that goes on is never hung up"
        assert facts.ended_by_kav
        assert not facts.handed_over
        assert facts.terminal_at is None
        assert facts.after_stream_at is None or facts.after_stream_at < facts.ended_at
        assert self.now - facts.ended_at >= PATIENCE.hangup_fallback_s


HAPPENINGS = st.tuples(
    st.sampled_from(["wait", "stream", "lost", "ask", "kav_ends", "hand_over", "caller_ends", "status"]),
    st.sampled_from([0.5, 2.5, 3.0, 29.0, 60.0, 130.0]),
)


@given(st.lists(HAPPENINGS, max_size=30))
def test_each_chore_is_done_once_and_every_entry_is_forgotten_in_the_end(happenings: list[tuple[str, float]]) -> None:
    life = Life()
    for what, seconds in happenings:
        life.happen(what, seconds)
    life.happen("lost", 0)  # no stream is for ever: its own rules end it
    for _ in range(6):
        life.happen("wait", 120)
    assert life.forgotten
    assert life.did[Chore.RECORD_END] == 1
    assert set(life.did.values()) == {1}
    assert life.did[Chore.RECORD_GHOST] == (life.facts.terminal_at is not None)


@given(st.lists(HAPPENINGS, max_size=30))
def test_a_call_that_goes_on_is_left_alone(happenings: list[tuple[str, float]]) -> None:
    life = Life()
    for what, seconds in happenings:
        life.happen(what, seconds)
        if life.facts.ended_at is None:
            assert not life.did.keys() & {Chore.HANG_UP, Chore.FETCH_STATUS, Chore.FORGET, Chore.RECORD_END}
