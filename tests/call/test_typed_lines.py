"""A line that the caller types is a turn: it silences the bot, is told to the model as text, and gets its answer."""

from dataclasses import replace

from kav.call import actions as act
from kav.call import events as ev
from kav.call.conversation import Conversation
from kav.call.flow import Flow, Step
from kav.call.session import CallSession
from tests.call.world import RULES, World

FLOW = Flow(
    "shop",
    "Shop",
    "inbound",
    (),
    ("he",),
    {"he": "שלום."},
    {"he": "להתראות."},
    steps=(Step("name", {"he": "מה השם?"}),),
)


def scripted(flow: Flow = FLOW) -> tuple[World, Conversation]:
    """A call whose greeting was said and heard."""
    talk = Conversation(flow, {"he": {"resume": "רוצה שנמשיך מאיפה שהיינו?"}})
    world = World(CallSession(RULES, talk)).started()
    world.speak("greeting", 500, "שלום. מה השם?")
    world.now += 1
    world.marks_return()
    return world, talk


def test_a_typed_line_goes_to_the_model_as_text_before_the_turn_is_judged() -> None:
    world, _ = scripted()
    actions = world.typed("דנה")
    assert actions[0] == act.AddCallerText("typed1", "דנה")
    assert isinstance(actions[1], act.RequestResponse)
    assert actions[1].kind == "judge"


def test_without_a_script_it_is_answered() -> None:
    world = World().started()
    world.speak("greeting", 500)
    kinds = [type(action) for action in world.typed("Hello")]
    assert kinds == [act.ClearPlayback, act.AddCallerText, act.RequestResponse] or kinds[-2:] == [
        act.AddCallerText,
        act.RequestResponse,
    ]


def test_it_silences_a_bot_that_is_speaking_by_the_rules_of_speech() -> None:
    typed, spoken = World().started(), World().started()
    for world in (typed, spoken):
        world.created()
        world.added("greeting")
        world.audio("greeting", 3000)
        world.now += 0.7
    by_line = [action for action in typed.typed("רגע") if not isinstance(action, act.AddCallerText)]
    assert by_line == spoken.speech()
    assert any(isinstance(action, act.TruncateItem) and action.audio_end_ms < 700 for action in by_line)


def test_its_answer_is_asked_for_only_when_the_silenced_response_is_done() -> None:
    world, _ = scripted()
    world.typed("דנה")
    world.judge("side_question", question="?", language="he")
    world.created()
    world.added("answer")
    world.audio("answer", 2000)
    assert not any(isinstance(action, act.RequestResponse) for action in world.typed("עוד שאלה", "typed2"))
    assert any(isinstance(action, act.RequestResponse) for action in world.finish("cancelled"))


def test_the_account_of_the_call_has_it_as_a_turn_with_its_words() -> None:
    world, talk = scripted()
    world.typed("דנה")
    turn = talk.chronicle.turns[-1]
    assert (turn.who, turn.kind, turn.text, turn.step) == ("caller", "caller", "דנה", "name")


def test_it_answers_the_active_question() -> None:
    world, talk = scripted()
    world.typed("דנה")
    world.judge("answer_step", step="name", value="דנה", language="he")
    assert talk.lock.answers["name"].value == "דנה"


def test_what_is_typed_before_the_model_is_there_waits_for_it_and_not_without_bound() -> None:
    world = World()
    world.do(ev.StreamStarted(world.now))
    for number in range(20):
        assert world.typed("שלום", f"typed{number}") == []
    world.do(ev.ModelReady(world.now))
    assert [line.item_id for line in world.of(act.AddCallerText) if isinstance(line, act.AddCallerText)] == [
        f"typed{number}" for number in range(8)
    ]


def test_it_takes_a_goodbye_back_as_a_word_does() -> None:
    world, talk = scripted(replace(FLOW, steps=(replace(FLOW.steps[0], optional=True),)))
    talk.farewell.say()
    world.typed("רגע, עוד משהו")
    assert not world.ended
    assert talk.farewell.taken_back == 1


def test_the_third_goodbye_stands_and_the_line_has_no_answer() -> None:
    world, talk = scripted()
    talk.farewell.taken_back = 2
    talk.farewell.say()
    assert not any(isinstance(action, act.AddCallerText) for action in world.typed("רגע"))
    assert world.ended


def test_silence_counts_anew_from_it() -> None:
    world, _ = scripted()
    world.now += 3.5
    world.typed("דנה")
    world.judge("unclear", reason="not_understood", language="he")
    world.created()
    world.now += 1
    assert not any(isinstance(action, act.EndCall) for action in world.do(ev.Tick(world.now)))


def test_what_was_typed_early_is_told_to_one_model_and_not_again_to_the_one_that_takes_its_place() -> None:
    world = World(CallSession(replace(RULES, reconnects=1), Conversation(FLOW, {"he": {"resumed": "הקו התנתק."}})))
    world.do(ev.StreamStarted(world.now))
    world.typed("שלום")
    for _ in range(2):
        world.do(ev.ModelReady(world.now))
        world.do(ev.ModelLost(world.now, "reset"))
        world.requested = world.active = None
    assert len(world.of(act.AddCallerText)) == 1
