"""A call with a script: judge, rule, speak; side questions and the way back; goodbye and silence (Promises 3 and 4)."""

from dataclasses import replace

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.audit import Breach, plain, question_starts
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.flow import Flow, Step
from kav.call.session import CallSession
from tests.call.world import World

PHRASES = {
    "he": {
        "resume": "רוצה שנמשיך מאיפה שהיינו?",
        "still_there": "אתם עדיין איתי?",
        "what_else": "מה עוד?",
        "goodbye": "תודה, להתראות.",
    },
    "en": {"resume": "Shall we go on from where we were?", "still_there": "Are you still with me?"},
}
FLOW = Flow(
    id="test",
    business="בדיקה",
    direction="inbound",
    numbers=(),
    languages=("he", "en"),
    greeting={"he": "שלום, נציג דיגיטלי.", "en": "Hello."},
    closing={"he": "תודה ולהתראות.", "en": "Thank you, goodbye."},
    steps=(Step("city", {"he": "באיזו עיר?", "en": "Which city?"}), Step("urgent", {"he": "זה דחוף?"}, kind="yes_no")),
)
GREETING = "שלום, נציג דיגיטלי. באיזו עיר?"


class Talk(World):
    def __init__(self, talk: Conversation | None = None) -> None:
        """`talk`: that of a call whose stream was lost."""
        self.talk = talk or Conversation(FLOW, PHRASES, "+972501234567")
        super().__init__(CallSession(CallRules(max_call_s=900, reply_timeout_s=8), self.talk))
        self.items = 0

    def says(self, words: str, ms: int = 1000) -> None:
        """The model speaks, and the caller hears all of it."""
        self.items += 1
        self.speak(f"item{self.items}", ms, words)
        self.now += ms / 1000
        self.marks_return()

    def asked_for(self) -> act.RequestResponse:
        request = self.of(act.RequestResponse)[-1]
        assert isinstance(request, act.RequestResponse)
        return request


@pytest.fixture
def talk() -> Talk:
    talk = Talk().started()
    assert talk.asked_for().text == GREETING
    talk.says(GREETING)
    return talk


def said(talk: Talk) -> tuple[str, str]:
    directive = talk.asked_for().directive
    return (
        (directive.say, directive.step) if directive is not None else (talk.asked_for().kind, talk.asked_for().phrase)
    )


def test_a_turn_is_judged_without_a_sound_and_then_answered_aloud(talk: Talk) -> None:
    talk.turn()
    assert talk.asked_for().kind == "judge"
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    assert (talk.asked_for().kind, *said(talk)) == ("speak", "ask", "urgent")
    talk.says("חיפה, תודה. זה דחוף?")
    assert talk.talk.lock.answers["city"].value == "חיפה"


def test_a_side_question_gets_the_resume_phrase_and_the_same_step(talk: Talk) -> None:
    talk.turn()
    talk.judge("side_question", language="he")
    assert said(talk) == ("answer_then_resume", "city")
    talk.says("השעה שלוש. רוצה שנמשיך מאיפה שהיינו?")
    talk.turn()
    talk.judge("answer_step", step="city", value="כן", language="he")
    assert said(talk) == ("ask_again", "city")
    assert talk.talk.lock.answers == {}


@pytest.mark.parametrize("forgot", ["השעה שלוש.", "השעה שלוש. נמשיך?"])
def test_a_resume_phrase_that_was_forgotten_or_paraphrased_is_spoken_alone(talk: Talk, forgot: str) -> None:
    talk.turn()
    talk.judge("side_question", language="he")
    talk.says(forgot)
    assert talk.asked_for().text == "רוצה שנמשיך מאיפה שהיינו?"
    assert Breach("resume phrase missing") in talk.talk.breaches


def test_a_caller_who_speaks_first_is_not_asked_to_resume(talk: Talk) -> None:
    talk.turn()
    talk.judge("side_question", language="he")
    talk.created()
    talk.added("answer")
    talk.audio("answer", 2000)
    talk.now += 0.5
    talk.turn()
    talk.finish("cancelled")
    assert talk.asked_for().kind == "judge"


def test_a_model_that_does_not_judge_is_asked_twice_and_the_step_stays(talk: Talk) -> None:
    talk.turn()
    for _ in range(2):
        assert talk.asked_for().kind == "judge"
        talk.created()
        talk.finish()
    assert said(talk) == ("not_understood", "city")
    assert Breach("no judgement") in talk.talk.breaches


def test_broken_arguments_move_nothing(talk: Talk) -> None:
    talk.turn()
    response = talk.created()
    talk.do(ev.ToolCalled(talk.now, response, "i", "c", "answer_step", '{"step": "ci'))
    talk.finish()
    assert said(talk) == ("not_understood", "city")
    assert talk.talk.lock.answers == {}


def test_only_the_first_of_two_judgements_counts(talk: Talk) -> None:
    talk.turn()
    response = talk.created()
    talk.do(ev.ToolCalled(talk.now, response, "i", "c1", "answer_step", '{"step": "city", "value": "חיפה"}'))
    late = ev.ToolCalled(talk.now, response, "i", "c2", "answer_step", '{"step": "urgent", "value": "yes"}')
    assert talk.do(late) == [act.SendToolOutput("c2", "ignored: one call for each turn")]
    assert talk.do(late) == [], "an output once for each call"
    assert list(talk.talk.lock.answers) == ["city"]
    assert [breach.what for breach in talk.talk.breaches] == ["judged twice", "call id used twice"]


def test_two_answers_in_one_breath_are_judged_once_more(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", more=True)
    assert talk.asked_for().kind == "judge"
    talk.judge("unclear")
    assert said(talk) == ("ask", "urgent")


def test_a_second_judgement_that_the_caller_talked_over_is_not_that_of_the_next_turn(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", more=True)
    talk.created()
    talk.speech()
    talk.finish("cancelled")
    talk.commit()
    talk.judge("unclear")
    assert said(talk) == ("not_understood", "urgent")


def test_a_question_that_was_ruled_on_and_never_said_is_not_answered_by_a_caller_who_goes_on(talk: Talk) -> None:
    talk.turn()
    response = talk.created()
    talk.do(ev.ToolCalled(talk.now, response, "i", "c", "answer_step", '{"step": "city", "value": "חיפה"}'))
    talk.speech()
    talk.finish("cancelled")
    talk.commit()
    talk.judge("answer_step", step="urgent", value="yes")
    assert "urgent" not in talk.talk.lock.answers


def test_a_caller_who_starts_twice_over_a_question_has_not_heard_it(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה")
    talk.created()
    talk.turn()
    talk.turn()
    talk.finish("cancelled")
    talk.judge("answer_step", step="urgent", value="yes")
    assert "urgent" not in talk.talk.lock.answers


def test_the_language_follows_the_caller_and_stays(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="Haifa", language="en")
    assert talk.asked_for().language == "en"
    talk.do(ev.CallerWords(talk.now, "user_item", "I am in Haifa right now"))
    talk.says("Thank you. Is it urgent?")
    talk.turn()
    talk.judge("side_question", language="en")
    talk.says("We come within an hour. Shall we go on from where we were?")
    assert talk.talk.breaches == []


@pytest.mark.parametrize("turn", ["user_item", "an_earlier_item"])
def test_the_words_of_another_turn_do_not_take_a_switch_back(talk: Talk, turn: str) -> None:
    talk.turn()
    talk.judge("side_question", language="en")
    talk.says("Of course. Shall we go on from where we were?")
    talk.turn()
    talk.do(ev.CallerWords(talk.now, turn, "Haifa"))
    talk.judge("answer_step", step="city", value="Haifa", language="en")
    assert talk.asked_for().language == "en"
    assert talk.talk.breaches == []


def test_words_that_come_before_the_judgement_are_its_check_too(talk: Talk) -> None:
    talk.turn()
    talk.do(ev.CallerWords(talk.now, "user_item", "Mazda"))
    talk.judge("side_question", language="en")
    assert talk.asked_for().language == "he"
    assert Breach("language switched without evidence") in talk.talk.breaches


def test_a_reply_in_the_wrong_language_is_on_record(talk: Talk) -> None:
    talk.turn()
    talk.judge("side_question", language="he")
    talk.says("Sure thing my friend. רוצה שנמשיך מאיפה שהיינו?")
    talk.turn()
    talk.judge("unclear", language="he")
    talk.says("I did not get that, which city is it?")
    assert Breach("wrong language", "he") in talk.talk.breaches


def to_the_goodbye(talk: Talk) -> None:
    talk.turn()
    talk.judge("end_call", language="he")
    assert talk.asked_for().text == "תודה, להתראות."


def test_the_goodbye_ends_the_call_when_it_is_heard_and_not_before(talk: Talk) -> None:
    to_the_goodbye(talk)
    talk.speak("bye", 1000, "תודה, להתראות.")
    assert not talk.ended
    talk.now += 1
    talk.marks_return()
    assert talk.done[-1] == act.EndCall("goodbye")


def test_a_goodbye_whose_last_mark_never_comes_ends_the_call_too(talk: Talk) -> None:
    to_the_goodbye(talk)
    talk.speak("bye", 1000, "תודה, להתראות.")
    talk.now += 2.9
    talk.do(ev.Tick(talk.now))
    assert not talk.ended
    talk.now += 0.2
    talk.do(ev.Tick(talk.now))
    assert talk.done[-1] == act.EndCall("goodbye")


def test_barge_in_takes_the_hang_up_back_twice_and_the_third_goodbye_stands(talk: Talk) -> None:
    for attempt in range(3):
        to_the_goodbye(talk)
        talk.speak(f"bye{attempt}", 1000, "תודה, להתראות.")
        talk.now += 0.3
        talk.speech()
        assert talk.ended == (attempt == 2)
        if not talk.ended:
            talk.commit()
            talk.judge("unclear", language="he")
            talk.says("סליחה, באיזו עיר?")


def test_the_closing_follows_the_last_answer_and_ends_the_call(talk: Talk) -> None:
    for step, value, words in (("city", "חיפה", "זה דחוף?"), ("urgent", "yes", "תודה ולהתראות.")):
        talk.turn()
        talk.judge("answer_step", step=step, value=value, language="he")
        talk.says(words)
    assert talk.asked_for().phrase == "closing"
    assert talk.done[-1] == act.EndCall("goodbye")


def test_a_goodbye_that_was_cut_is_none(talk: Talk) -> None:
    to_the_goodbye(talk)
    talk.created()
    talk.added("bye")
    talk.audio("bye", 500)
    talk.speech()
    talk.finish("cancelled")
    talk.now += 3
    talk.do(ev.Tick(talk.now))
    assert not talk.ended


def test_after_a_lost_stream_a_yes_answers_the_step_that_is_asked_and_no_earlier_question(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    talk.says("זה דחוף?")
    talk.turn()
    talk.judge("side_question", language="he")
    resumed = Talk(talk.talk).started()
    assert resumed.asked_for().text.endswith("זה דחוף?")
    resumed.says(resumed.asked_for().text)
    resumed.turn()
    resumed.judge("answer_step", step="urgent", value="yes", language="he")
    assert resumed.talk.lock.answers["urgent"].value == "yes"


def test_a_goodbye_that_was_lost_with_its_stream_does_not_end_the_next(talk: Talk) -> None:
    to_the_goodbye(talk)
    talk.speak("bye", 1000, "תודה, להתראות.")
    resumed = Talk(talk.talk)
    resumed.do(ev.StreamStarted(resumed.now))
    resumed.do(ev.Tick(resumed.now))
    assert not resumed.ended


def test_silence_is_asked_about_once_and_a_yes_is_no_answer_to_the_step(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה")
    talk.says("זה דחוף?")
    for _ in range(45):
        talk.now += 0.1
        talk.do(ev.Tick(talk.now))
        talk.session.model_seen(talk.now)
    assert talk.asked_for().text == "אתם עדיין איתי?"
    talk.says("אתם עדיין איתי?")
    talk.turn()
    talk.judge("answer_step", step="urgent", value="yes")
    assert said(talk) == ("ask_again", "urgent")
    assert "urgent" not in talk.talk.lock.answers


def test_silence_ends_the_call_without_a_word(talk: Talk) -> None:
    for _ in range(100):
        talk.now += 0.1
        talk.do(ev.Tick(talk.now))
        talk.session.model_seen(talk.now)
        if talk.requested is not None:
            talk.says("אתם עדיין איתי?", ms=100)
    assert talk.done[-1] == act.EndCall("silence")
    assert len([action for action in talk.done if isinstance(action, act.RequestResponse)]) == 2


def test_a_phrase_that_is_not_exact_is_said_once_more_and_then_on_record(talk: Talk) -> None:
    to_the_goodbye(talk)
    talk.says("טוב, ביי")
    assert talk.asked_for().text == "תודה, להתראות."
    talk.speak("bye", 500, "אז ביי")
    assert Breach("phrase not exact", "goodbye") in talk.talk.breaches
    assert talk.talk.farewell.said


@pytest.mark.parametrize(
    ("transcript", "starts"),
    [("תודה. באיזו עיר?", 6), ("באיזו עיר?", 0), ("אין שאלה כאן.", 0), ("כן? טוב! זה דחוף?", 9)],
)
def test_finds_where_the_question_begins(transcript: str, starts: int) -> None:
    assert question_starts(transcript) == starts


def test_texts_are_compared_as_they_sound() -> None:
    assert plain("שָׁלוֹם,  עולם!") == plain("שלום עולם")
    assert plain("Hello, World?") == plain("hello world")


def test_a_caller_who_interrupts_before_the_question_exists_has_not_heard_it(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה")
    response = talk.created()
    talk.added("thanks")
    talk.do(ev.BotWords(talk.now, response, "thanks", "תודה רבה"))
    talk.audio("thanks", 600)
    talk.now += 0.2
    talk.turn()
    talk.finish("cancelled")
    talk.judge("answer_step", step="urgent", value="yes")
    assert "urgent" not in talk.talk.lock.answers


def test_a_yes_that_comes_just_before_kav_asks_for_presence_answers_the_step(talk: Talk) -> None:
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה")
    talk.says("תודה. זה דחוף?")
    for _ in range(45):
        talk.now += 0.1
        talk.do(ev.Tick(talk.now))
        talk.session.model_seen(talk.now)
    assert talk.asked_for().phrase == "still_there"
    talk.turn()
    talk.created()
    talk.finish("cancelled")
    talk.judge("answer_step", step="urgent", value="yes")
    assert talk.talk.lock.answers["urgent"].value == "yes"


def test_a_judge_that_fails_after_its_call_is_not_asked_again(talk: Talk) -> None:
    talk.turn()
    response = talk.created()
    talk.do(ev.ToolCalled(talk.now, response, "i", "c", "answer_step", '{"step": "city", "value": "חיפה"}'))
    talk.finish("failed", "server_error")
    assert said(talk) == ("ask", "urgent")
    assert talk.talk.breaches == []


def test_a_language_without_texts_is_not_held_to_another_ones_words(talk: Talk) -> None:
    talk.turn()
    talk.judge("side_question", language="fr")
    assert talk.asked_for().language == "fr"
    requests = len(talk.of(act.RequestResponse))
    talk.says("Il est trois heures. On continue?")
    assert len(talk.of(act.RequestResponse)) == requests


def test_a_key_resets_the_silence_clock(talk: Talk) -> None:
    for _ in range(200):
        talk.now += 0.1
        talk.do(ev.KeyPressed(talk.now, "1"))
        talk.do(ev.Tick(talk.now))
        talk.session.model_seen(talk.now)
    assert not talk.ended


def test_the_limit_is_announced_in_the_callers_language() -> None:
    talk = Talk()
    talk.session = CallSession(CallRules(max_call_s=120, reply_timeout_s=8), talk.talk)
    talk.started()
    talk.says(GREETING)
    talk.turn()
    talk.judge("side_question", language="en")
    talk.says("An hour. Shall we go on from where we were?")
    talk.now += 60
    talk.session.model_seen(talk.now)
    talk.do(ev.Tick(talk.now))
    assert (talk.asked_for().phrase, talk.asked_for().language) == ("limit_notice", "en")


def test_a_call_that_comes_back_from_a_hand_over_is_not_handed_over_again(talk: Talk) -> None:
    talk.talk.handing_over = True
    talk.now += 3
    talk.do(ev.Tick(talk.now))
    assert talk.done[-1] == act.EndCall("transferred")
    back = CallSession(CallRules(max_call_s=900, reply_timeout_s=8, opening="nobody_answers"), talk.talk)
    back.handle(ev.StreamStarted(talk.now))
    assert back.handle(ev.Tick(talk.now + 0.1)) == [], "the model is not there yet"
    assert not back.over


def test_without_a_script_the_fixed_phrases_follow_the_callers_words() -> None:
    talk = Talk(Conversation(replace(FLOW, steps=()), PHRASES)).started()
    talk.says(GREETING.removesuffix(" באיזו עיר?"))
    for words, language in (("Mazda", "he"), ("When do you open?", "en"), ("רגע אחד בבקשה", "he")):
        talk.turn()
        talk.do(ev.CallerWords(talk.now, "user_item", words))
        talk.says("...")
        assert talk.talk.presence().language == language
