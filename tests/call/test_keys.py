"""Keys answer the question that is open: `#` ends an entry, `*` clears it, and the bot is silent meanwhile."""

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.conversation import Conversation
from kav.call.flow import Flow, Step
from kav.call.keypad import KEY_PAUSE_S, Keypad, by_keys
from tests.call.test_conversation import PHRASES, Talk, said

CODE = Step("code", {"he": "מה המספר?"}, kind="number")
DOOR = Step("door", {"he": "דלת או רכב?"}, kind="choice", choices=("דלת", "רכב"), branches={"רכב": "phone"})
URGENT = Step("urgent", {"he": "זה דחוף?"}, kind="yes_no")
PHONE = Step("phone", {"he": "מה הטלפון?"}, kind="phone", confirm=True, max_asks=2)


def flow(*steps: Step) -> Flow:
    texts = {"he": "שלום."}
    return Flow("test", "בדיקה", "inbound", (), ("he",), texts, {"he": "תודה ולהתראות."}, steps=steps)


def asked(*steps: Step) -> Talk:
    """A call whose first question was heard."""
    talk = Talk(Conversation(flow(*steps), PHRASES)).started()
    talk.says(talk.asked_for().text)
    return talk


def press(talk: Talk, keys: str) -> list[act.Action]:
    return [action for key in keys for action in talk.do(ev.KeyPressed(talk.now, key))]


@pytest.mark.parametrize(
    ("step", "digits", "value"),
    [
        (CODE, "4711", "4711"),
        (URGENT, "1", "yes"),
        (URGENT, "2", "no"),
        (URGENT, "3", None),
        (DOOR, "2", "רכב"),
        (DOOR, "3", None),
        (DOOR, "0", None),
        (Step("day", {}, kind="date"), "24122026", "2026-12-24"),
        (Step("at", {}, kind="time"), "0930", "09:30"),
        (Step("name", {}, kind="name"), "5", None),
    ],
)
def test_what_keys_say_to_each_kind_of_question(step: Step, digits: str, value: str | None) -> None:
    assert by_keys(step, digits) == value


def test_a_star_clears_and_a_hash_ends() -> None:
    keypad = Keypad()
    assert [keypad.press(0.0, key, 0) for key in "12*34#"] == [None] * 5 + ["34"]
    assert not keypad.pending


def test_a_pause_ends_an_entry_too() -> None:
    keypad = Keypad()
    keypad.press(10.0, "5", 0)
    assert keypad.tick(10.0 + KEY_PAUSE_S - 0.1) is None
    assert keypad.tick(10.0 + KEY_PAUSE_S) == "5"
    assert keypad.tick(99.0) is None


@pytest.mark.parametrize("keys", ["#", "*", "##**", "A"])
def test_keys_that_begin_nothing_mean_nothing(keys: str) -> None:
    talk = asked(CODE, URGENT)
    assert press(talk, keys) == []
    assert talk.talk.lock.answers == {}


def test_digits_and_a_hash_answer_the_active_step_without_the_model() -> None:
    talk = asked(CODE, URGENT)
    press(talk, "47*4711#")
    assert talk.talk.lock.answers["code"].value == "4711"
    assert said(talk) == ("ask", "urgent")


def test_one_key_is_enough_where_it_says_it_all() -> None:
    talk = asked(DOOR, URGENT, PHONE)
    press(talk, "2")
    assert talk.talk.lock.answers["door"].value == "רכב"
    assert said(talk) == ("ask", "phone")


def test_a_number_is_read_back_and_a_one_confirms_it() -> None:
    talk = asked(PHONE, URGENT)
    press(talk, "0501234567#")
    assert said(talk) == ("confirm", "phone")
    talk.says("050-1234567, נכון?")
    press(talk, "1#")
    assert talk.talk.lock.answers["phone"].value == "0501234567"


def test_keys_work_while_the_bot_speaks_and_silence_it() -> None:
    talk = asked(CODE, URGENT)
    talk.turn()
    talk.judge("side_question", language="he")
    talk.created()
    talk.added("answer")
    talk.audio("answer", 3000)
    talk.now += 0.5
    first = press(talk, "4")
    assert any(isinstance(action, act.ClearPlayback) for action in first)
    assert any(isinstance(action, act.CancelResponse) for action in first)
    assert not any(isinstance(action, act.ClearPlayback) for action in press(talk, "711"))
    talk.finish("cancelled")
    press(talk, "#")
    assert talk.talk.lock.answers["code"].value == "4711"


def test_nothing_is_said_while_the_caller_keys_and_the_silence_clock_stands_still() -> None:
    talk = asked(CODE, URGENT)
    before = len(talk.done)
    for key in "123456":
        press(talk, key)
        for _ in range(25):
            talk.now += 0.1
            talk.session.model_seen(talk.now)
            talk.do(ev.Tick(talk.now))
    assert talk.done[before:] == []
    talk.now += 1
    talk.do(ev.Tick(talk.now))
    assert talk.talk.lock.answers["code"].value == "123456"


def test_a_cleared_entry_that_nothing_follows_has_the_question_asked_again() -> None:
    talk = asked(CODE, URGENT)
    press(talk, "12*")
    talk.now += KEY_PAUSE_S
    talk.do(ev.Tick(talk.now))
    assert said(talk) == ("not_understood", "code")
    assert talk.talk.lock.answers == {}


def test_one_key_does_not_answer_a_question_that_was_not_heard() -> None:
    talk = Talk(Conversation(flow(DOOR, PHONE), PHRASES)).started()
    talk.created()
    press(talk, "2")
    assert talk.talk.lock.answers == {}


def test_a_one_to_kavs_own_question_is_no_answer_to_the_step() -> None:
    talk = asked(URGENT, CODE)
    talk.turn()
    talk.judge("side_question", language="he")
    talk.says("השעה שלוש. רוצה שנמשיך מאיפה שהיינו?")
    press(talk, "1")
    assert talk.talk.lock.answers == {}
    assert said(talk) == ("ask_again", "urgent")


def test_an_entry_for_a_question_that_is_answered_meanwhile_answers_no_other() -> None:
    talk = asked(CODE, PHONE)
    talk.turn()
    press(talk, "47")
    talk.judge("answer_step", step="code", value="12", language="he")
    press(talk, "11#")
    assert {step: answer.value for step, answer in talk.talk.lock.answers.items()} == {"code": "12"}
    assert said(talk) == ("ask", "phone")


def test_what_is_said_while_keying_is_judged_and_gets_the_one_reply() -> None:
    talk = asked(CODE, PHONE)
    press(talk, "47")
    talk.turn()
    press(talk, "11#")
    assert talk.talk.lock.answers["code"].value == "4711"
    assert talk.asked_for().kind == "judge"
    talk.judge("side_question", language="he")
    assert said(talk) == ("answer_then_resume", "phone")


def test_a_key_takes_the_hang_up_back() -> None:
    talk = asked(CODE, URGENT)
    talk.turn()
    talk.judge("end_call", language="he")
    talk.speak("bye", 1000, "תודה, להתראות.")
    talk.now += 0.3
    press(talk, "5")
    talk.now += 2
    talk.marks_return()
    assert not talk.ended


def test_keys_without_a_script_are_given_to_the_model() -> None:
    talk = Talk(Conversation(flow(), PHRASES)).started()
    talk.says("שלום.")
    press(talk, "12#")
    assert (talk.asked_for().kind, *said(talk)) == ("answer", "keyed", "")
    directive = talk.asked_for().directive
    assert directive is not None
    assert directive.value == "12"


def test_keys_that_cannot_be_an_answer_are_patient_only_so_often() -> None:
    talk = asked(PHONE, URGENT)
    press(talk, "12#")
    talk.says("מה הטלפון?")
    press(talk, "12#")
    assert talk.talk.lock.answers["phone"].unanswered == "invalid"
    assert talk.talk.breaches == [], "the model did nothing wrong"


def test_a_key_before_the_greeting_answers_nothing() -> None:
    talk = Talk(Conversation(flow(URGENT, CODE), PHRASES))
    talk.do(ev.StreamStarted(talk.now))
    assert press(talk, "1") == []
    talk.do(ev.ModelReady(talk.now))
    assert talk.talk.lock.answers == {}
    assert talk.asked_for().phrase == "greeting"


def test_a_number_is_not_confirmed_by_a_key_that_comes_before_the_read_back() -> None:
    talk = asked(PHONE, URGENT)
    press(talk, "0501234567#")
    talk.created()
    press(talk, "1#")
    assert talk.talk.lock.answers == {}


def test_what_was_asked_aloud_is_judged_though_a_key_answers_meanwhile() -> None:
    talk = asked(URGENT, CODE)
    talk.turn()
    talk.created()
    press(talk, "1")
    talk.finish("cancelled")
    assert talk.talk.lock.answers["urgent"].value == "yes"
    assert talk.asked_for().kind == "judge"


def test_a_question_that_keys_opened_and_nobody_said_is_answered_by_no_yes() -> None:
    talk = asked(CODE, URGENT)
    talk.turn()
    talk.created()
    press(talk, "4711#")
    talk.finish("cancelled")
    assert talk.asked_for().kind == "judge", "what was said besides is judged, for the question that is open now"
    talk.created()
    talk.turn()  # and goes on
    talk.finish("cancelled")
    talk.judge("answer_step", step="urgent", value="yes", language="he")
    assert list(talk.talk.lock.answers) == ["code"]
