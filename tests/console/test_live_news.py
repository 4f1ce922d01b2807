"""Guards what a viewer of live calls is told: what has changed, nothing else, and a line in time to stay connected."""

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import stream_registry
from kav.call.events import Usage
from kav.console.live import (
    COMMENT_EVERY_S,
    LOOK_EVERY_S,
    SHOWN_AFTER_END_S,
    Cost,
    LiveCalls,
    Watch,
    count,
    show,
    watch,
)
from kav.console.texts import load_texts
from kav.console.words import Words
from kav.cost import load_prices
from tests.console.desk import going_on

ENGLISH = Words(load_texts(), "en", ZoneInfo("Asia/Jerusalem"))
HEBREW = Words(load_texts(), "he", ZoneInfo("Asia/Jerusalem"))
MODEL = "gpt-realtime-2.1"


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    stream_registry.registry.clear()
    yield
    stream_registry.registry.clear()


def calls() -> LiveCalls:
    return LiveCalls(load_prices(), MODEL, "gpt-transcribe")


def body(news: str) -> dict[str, Any]:
    assert news.startswith("data: ")
    assert news.endswith("\n\n")
    told: dict[str, Any] = json.loads(news.removeprefix("data: "))
    return told


def test_a_call_is_told_once_and_then_only_when_it_changes() -> None:
    seen, now = calls(), time.monotonic()
    told = Watch.begin(ENGLISH, now)
    entry = going_on()
    first = body(told.news(seen.look(now), now))
    assert [call["sid"] for call in first["calls"]] == ["CAlive"]
    assert (first["live"], first["calls"][0]["who"]) == (1, "+972501234567")
    assert told.news(seen.look(now + 1), now + 1) == "", "time alone is no news: the page counts the seconds"
    talk = entry["conversation"]
    assert talk is not None
    talk.language.judged("en")
    assert body(told.news(seen.look(now + 2), now + 2))["calls"][0]["language"] == "English"


def test_where_a_call_is_is_told_as_the_question_that_the_caller_hears() -> None:
    seen, entry = calls(), going_on()
    (call,) = seen.look(0.0)
    told = show(call, ENGLISH, 0.0)
    assert (told["step"], told["question"], told["question_id"]) == ("Question 1 of 2", "מה השם?", "name")
    assert show(call, HEBREW, 0.0)["step"] == "שאלה 1 מתוך 2"
    talk = entry["conversation"]
    assert talk is not None
    for step, value in (("name", "Dana"), ("day", "2026-12-01")):
        talk.lock.heard()
        talk.judged("answer_step", json.dumps({"step": step, "value": value, "language": "he"}), 0.0, step)
    (call,) = seen.look(1.0)
    told = show(call, ENGLISH, 1.0)
    assert (told["step"], told["question"], told["question_id"]) == ("All asked", "", "")


def test_a_call_that_ends_says_how_and_then_goes() -> None:
    seen, now = calls(), time.monotonic()
    told = Watch.begin(ENGLISH, now)
    going_on()
    told.news(seen.look(now), now)
    stream_registry.end("CAlive", "goodbye")
    ended = body(told.news(seen.look(now + 1), now + 1))
    assert (ended["live"], ended["calls"][0]["over"], ended["calls"][0]["speaker"]) == (0, True, "Said goodbye")
    later = time.monotonic() + SHOWN_AFTER_END_S + 1
    assert body(told.news(seen.look(later), later)) == {"calls": [], "gone": ["CAlive"], "live": 0}


def test_who_begins_to_watch_is_told_that_there_is_no_call() -> None:
    """Their page may show some: those of before the connection was lost."""
    assert body(Watch.begin(ENGLISH, 0.0).news([], 0.0)) == {"calls": [], "gone": [], "live": 0}


def test_a_line_that_has_nothing_to_say_says_so_in_time() -> None:
    told = Watch.begin(ENGLISH, 0.0)
    told.news([], 0.0)
    sent = [(at, told.news([], float(at))) for at in range(1, 60)]
    assert [at for at, news in sent if news] == [15, 30, 45]
    assert {news for _, news in sent} == {"", ":\n\n"}
    assert COMMENT_EVERY_S <= 15


def test_all_viewers_share_one_look() -> None:
    seen = calls()
    going_on()
    first = seen.look(100.0)
    going_on("CAother")
    assert seen.look(100.0 + LOOK_EVERY_S / 2) is first
    assert len(seen.look(100.0 + LOOK_EVERY_S)) == 2


class Among(stream_registry.Alone):
    """One of several processes, to which no call belongs."""

    many = True

    def looks_after(self, entry: stream_registry.Entry) -> bool:  # noqa: ARG002 - it holds for every entry
        """Others do."""
        return False


def test_another_processs_call_is_not_live_here_while_it_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_registry, "_sharing", Among())
    going_on("CAguest")
    going_on("CAhere")["stream"] = SimpleNamespace(speaking="bot")
    assert [call.call_sid for call in calls().look(time.monotonic())] == ["CAhere"]


def test_the_cost_follows_what_was_used() -> None:
    seen, entry = calls(), going_on()
    talk = entry["conversation"]
    assert talk is not None
    talk.chronicle.used(Usage(responses=1, output_audio=1000))
    talk.chronicle.transcribed_s = 60.0
    (call,) = seen.look(0.0)
    prices = load_prices()
    spoken, written = prices.micro_usd(MODEL, talk.chronicle.usage), prices.audio_micro_usd("gpt-transcribe", 60.0)
    assert spoken is not None
    assert written is not None
    assert call.cost == Cost(spoken + written)
    assert spoken + written > 0


def test_a_call_without_a_known_price_has_no_cost_rather_than_a_guess() -> None:
    entry = going_on()
    talk = entry["conversation"]
    assert talk is not None
    talk.chronicle.used(Usage(responses=1, output_audio=1000))
    (call,) = LiveCalls(load_prices(), "a model of tomorrow", "gpt-transcribe").look(0.0)
    assert call.cost == Cost(None, is_partial=True)
    assert show(call, ENGLISH, 0.0)["cost"] == "–"


@pytest.mark.parametrize("words", [ENGLISH, HEBREW])
def test_a_cost_without_a_part_whose_price_is_not_known_says_so_to_who_sees_and_who_listens(words: Words) -> None:
    entry = going_on()
    talk = entry["conversation"]
    assert talk is not None
    talk.chronicle.used(Usage(responses=1, output_audio=1000))
    talk.chronicle.transcribed_s = 60.0
    (call,) = LiveCalls(load_prices(), MODEL, "a transcriber of tomorrow").look(0.0)
    told = show(call, words, 0.0)
    assert (told["cost"], told["cost_note"]) == ("\u2066≥ $0.064\u2069", words.text("call.cost_partial"))


def test_a_response_of_which_nobody_told_what_it_took_leaves_the_cost_a_partial_one() -> None:
    seen, entry = calls(), going_on()
    talk = entry["conversation"]
    assert talk is not None
    talk.chronicle.used(Usage(responses=1, output_audio=1000))
    assert show(seen.look(0.0)[0], ENGLISH, 0.0)["cost"] == "$0.064"
    talk.chronicle.used(None)
    assert show(seen.look(1.0)[0], ENGLISH, 1.0)["cost"] == "\u2066≥ $0.064\u2069"


def test_interruptions_are_those_of_the_call_and_not_of_a_stream() -> None:
    seen, entry = calls(), going_on()
    talk = entry["conversation"]
    assert talk is not None
    assert entry["stream"] is None, "it was lost, and none has taken its place"
    for over_bot in (True, False, True):
        talk.chronicle.speech_began(over_bot=over_bot)
    assert show(seen.look(0.0)[0], ENGLISH, 0.0)["barge_ins"] == 2


def test_words_that_come_in_are_news() -> None:
    seen, entry = calls(), going_on()
    talk = entry["conversation"]
    assert talk is not None
    told = Watch.begin(ENGLISH, 0.0)
    told.news(seen.look(0.0), 0.0)
    talk.chronicle.caller_turn("item", "name")
    first = body(told.news(seen.look(1.0), 1.0))["calls"][0]["version"]
    talk.chronicle.caller_words("item", "שלום")
    assert body(told.news(seen.look(2.0), 2.0))["calls"][0]["version"] != first


def test_a_watch_is_over_when_it_may_not_go_on() -> None:
    going_on()
    looks = iter((True, True, False))
    sent = list(watch(calls(), ENGLISH, lambda: next(looks), lambda: None))
    assert sent[0].startswith("retry: ")
    assert len(sent) == 2


def test_what_a_number_says_breaks_no_event() -> None:
    stream_registry.register(
        "CAx\n\ndata: {}", direction="inbound", flow=going_on()["flow"], from_number="+9\r\n\r\n", to_number=""
    )
    news = Watch.begin(ENGLISH, 0.0).news(calls().look(0.0), 0.0)
    assert news.count("\n") == 2
    assert count(calls().look(0.0)) == 2
