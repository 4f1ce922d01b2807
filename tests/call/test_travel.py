"""A conversation goes from one process to another and is the same: step, answers, language, account, for any call."""

import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kav.call.conversation import Conversation
from kav.call.events import Direction
from kav.call.flow import Flow, HttpTool, Step
from kav.call.plain import UnreadableError, pack, unpack
from kav.call.travel import from_plain, to_pages, to_plain
from tests.call.test_conversation import PHRASES as KNOWN_PHRASES
from tests.call.test_script_properties import FLOW, Telephone

PHRASES = {language: {**texts, "take_message": "?"} for language, texts in KNOWN_PHRASES.items()}
WHOLE = to_plain(Conversation(FLOW, PHRASES), 0.0)
SHIFT_THERE, SHIFT_HERE = 1_800_000_000.25, 5_000.5


def travelled(talk: Conversation) -> Conversation:
    """As another process reads it, on a machine whose clock began at another time."""
    plain, pages = json.loads(json.dumps([to_plain(talk, SHIFT_THERE), to_pages(talk.chronicle.pages())]))
    return from_plain(plain, pages, FLOW, PHRASES, SHIFT_THERE - SHIFT_HERE)


def any_call(chance: Random, events: int) -> Telephone:
    phone = Telephone(chance)
    phone.talk.phrases = PHRASES
    happen(phone, chance, events)
    return phone


def happen(phone: Telephone, chance: Random, events: int) -> None:
    happenings = (
        phone.time_passes,
        phone.all_is_played,
        phone.caller_speaks,
        phone.caller_takes_a_turn,
        phone.caller_keys,
        phone.words_come,
        phone.response_begins,
        phone.model_judges,
        phone.model_speaks,
        phone.model_does_what_is_asked,
        phone.model_does_what_is_asked,
        phone.response_ends,
    )
    for _ in range(events):
        chance.choice(happenings)()


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 60))
def test_whatever_has_happened_it_travels_whole(chance: Random, events: int) -> None:
    talk = any_call(chance, events).talk
    there = travelled(talk)
    told, again = to_plain(talk, 0.0), to_plain(there, 0.0)
    for moment in ("now", "began_at"):
        assert again.pop(moment) == pytest.approx(told.pop(moment) + SHIFT_HERE, abs=0.01)
    assert again == told
    assert there.chronicle.turns == talk.chronicle.turns
    assert there.chronicle.tools == talk.chronicle.tools
    assert there.chronicle.breaches == talk.chronicle.breaches
    assert there.chronicle.at_ms == pytest.approx(talk.chronicle.at_ms, abs=3)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 60), st.sampled_from(["resumed", "nobody_answers"]))
def test_the_next_stream_opens_and_rules_there_as_it_would_here(chance: Random, events: int, opening: str) -> None:
    phone = any_call(chance, events)
    there = travelled(phone.talk)
    assert there.opening(opening) == phone.talk.opening(opening)
    for _ in range(3):
        tool, arguments = chance.choice(("answer_step", "side_question", "correct_answer")), phone.arguments()
        for talk in (phone.talk, there):
            talk.turn("item")
            talk.heard()
        judged = [talk.judged(tool, json.dumps(arguments), talk.chronicle.now, "c") for talk in (phone.talk, there)]
        assert judged[0] == judged[1]
    assert there.lock.answers == phone.talk.lock.answers
    assert there.language.current == phone.talk.language.current


def test_of_what_was_told_before_only_what_may_not_have_been_told_whole_is_news_there() -> None:
    """The process that was to tell it may have been killed in the midst of a sentence."""
    phone = any_call(Random(7), 40)
    phone.talk.chronicle.news()
    there = travelled(phone.talk).chronicle
    news = there.news()
    assert news is not None
    assert news.turns == tuple(there.turns[-2:])
    assert (news.answers, news.breaches, news.tools, news.usage) == ((), (), (), None)
    assert there.news() is None


def test_what_another_stream_has_said_stays_that_streams() -> None:
    phone = any_call(Random(7), 40)
    there = travelled(phone.talk)
    there.begin_stream()
    there.chronicle.caller_turn("item", "city")
    assert [there.chronicle.is_of_this_stream(turn) for turn in there.chronicle.turns[-2:]] == [False, True]


def test_the_message_that_was_left_to_ask_for_is_asked_for_there() -> None:
    talk = Conversation(replace(FLOW, steps=FLOW.steps[:1]), PHRASES)
    talk.judged("answer_step", json.dumps({"value": "חיפה", "language": "he"}), 0.0, "c")
    talk.opening("nobody_answers")
    assert talk.open_question[0] == "message"
    plain = to_plain(talk, 0.0)
    pages = to_pages(talk.chronicle.pages())
    there = from_plain(plain, pages, replace(FLOW, steps=FLOW.steps[:1]), PHRASES)
    assert there.open_question == talk.open_question
    assert there.flow == talk.flow


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 12), max_size=8))
def test_telling_what_has_changed_again_and_again_is_telling_all(chance: Random, pauses: list[int]) -> None:
    phone, told = any_call(chance, 0), dict[str, object]()
    for events in pauses:
        happen(phone, chance, events)
        told |= json.loads(json.dumps(to_pages(phone.talk.chronicle.moved())))
    assert told == json.loads(json.dumps(to_pages(phone.talk.chronicle.pages())))
    assert to_pages(phone.talk.chronicle.moved()) == {}
    assert to_pages(travelled(phone.talk).chronicle.moved()) == {}, "whoever reads it has it from who keeps it"


def test_what_is_told_of_a_long_call_every_second_is_no_more_than_of_a_short_one() -> None:
    told = []
    for turns in (10, 400):
        talk = Conversation(FLOW, PHRASES)
        for number in range(turns):
            talk.chronicle.caller_turn(f"item{number}", "city")
            talk.chronicle.caller_words(f"item{number}", "חיפה " * 20)
            talk.chronicle.tool_called(f"call{number}", "answer_step", "{}" * 50)
            talk.chronicle.tool_finished(f"call{number}", "next" * 50)
        talk.chronicle.news()
        talk.chronicle.moved()
        talk.chronicle.caller_turn("last", "city")
        told.append(len(json.dumps([to_plain(talk, 0.0), to_pages(talk.chronicle.moved())])))
    assert told[1] - told[0] < 20, "but for the digits of its counts"


def test_a_conversation_without_one_of_its_turns_is_refused() -> None:
    talk = any_call(Random(7), 40).talk
    pages = to_pages(talk.chronicle.pages())
    for name in pages:
        with pytest.raises(UnreadableError):
            from_plain(to_plain(talk, 0.0), {key: page for key, page in pages.items() if key != name}, FLOW, PHRASES)


@pytest.mark.parametrize("spoilt", [None, [], {}, {"version": 2}, "talk"])
def test_what_is_no_conversation_is_refused(spoilt: object) -> None:
    with pytest.raises(UnreadableError):
        from_plain(spoilt, {}, FLOW, PHRASES)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"lock": {}},
        {"language": {"current": 5, "_before": None}},
        {"now": "noon"},
        {"account": None},
        {"message": 5},
        {"more": 1},
        {"pages": None},
        {"pages": [1, 0, 0]},
        {"pages": [0, 0]},
    ],
)
def test_what_another_release_has_written_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UnreadableError):
        from_plain(WHOLE | change, {}, FLOW, PHRASES)


def flow(direction: Direction = "outbound") -> Flow:
    tool = HttpTool("stock", "", "https://shop.example.com/", "GET", {"type": "object", "properties": {"a": {}}})
    return replace(FLOW, direction=direction, tools=(tool,), variables=("name",))


def test_a_script_travels_whole() -> None:
    assert unpack(Flow, json.loads(json.dumps(pack(flow())))) == flow()


@pytest.mark.parametrize("change", [{"direction": "sideways"}, {"numbers": [1]}, {"steps": [{"id": "a"}]}, {"x": 1}])
def test_what_is_no_script_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UnreadableError):
        unpack(Flow, pack(flow()) | change)


@pytest.mark.parametrize("plain", [True, "1", 1.0, None])
def test_a_number_is_a_number(plain: object) -> None:
    with pytest.raises(UnreadableError):
        unpack(int, plain)


def test_a_step_keeps_its_defaults_and_its_tuples() -> None:
    step = Step("city", {"he": "באיזו עיר?"}, kind="choice", choices=("חיפה", "עכו"))
    assert unpack(Step, json.loads(json.dumps(pack(step)))) == step
