"""The account of a call says what was heard, not what was generated; and it misses nothing that happened."""

from kav.call import events as ev
from kav.call.actions import SendMark
from kav.call.chronicle import MAX_MARKS, Chronicle, News, Turn
from kav.call.conversation import Conversation
from tests.call.test_conversation import FLOW, GREETING, PHRASES, Talk


def greeted() -> Talk:
    talk = Talk().started()
    talk.says(GREETING)
    return talk


def news(talk: Talk) -> News:
    told = talk.talk.chronicle.news()
    assert told is not None
    return told


def test_a_sentence_that_was_heard_whole_stands_there_whole() -> None:
    (turn,) = news(greeted()).turns
    assert (turn.who, turn.kind, turn.phrase, turn.heard) == ("bot", "phrase", "greeting", GREETING)
    assert (turn.number, turn.audio_ms, turn.heard_ms) == (1, 1000, None)


def test_a_sentence_that_was_cut_off_stands_there_as_heard() -> None:
    talk = Talk().started()
    talk.speak("greeting", 1000, GREETING)
    talk.now += 0.5125
    talk.speech()
    (turn,) = news(talk).turns
    assert turn.heard_ms == 502, "10 ms less than the clock says: never more than was heard"
    assert turn.heard == "שלום, נציג", "half of the sound, to the last whole word"


def test_a_sentence_of_which_nothing_was_heard_is_on_record_as_unheard() -> None:
    talk = greeted()
    talk.turn()
    talk.judge("side_question", language="he")
    talk.created()
    talk.added("answer")
    talk.audio("answer", 1000)
    talk.do(ev.BotWords(talk.now, talk.active or "", "answer", "השעה שלוש"))
    talk.speech()
    turn = news(talk).turns[-1]
    assert (turn.text, turn.heard, turn.heard_ms) == ("השעה שלוש", "", 0)


def test_a_mark_that_came_back_stands_with_the_turn_that_it_was_heard_of() -> None:
    talk = Talk().started()
    talk.created()
    talk.added("greeting")
    for _ in range(2):
        talk.audio("greeting", 500)
    first, last = [action.name for action in talk.done if isinstance(action, SendMark)]
    for name in (first, last, first, "g0:99"):
        talk.now += 0.5
        talk.do(ev.MarkEchoed(talk.now, name))
    assert news(talk).turns[0].marks == [500, 1000], "those that count, once each"


def test_a_mark_from_before_a_barge_in_was_not_heard() -> None:
    talk = Talk().started()
    talk.speak("greeting", 1000, GREETING)
    late = [action.name for action in talk.done if isinstance(action, SendMark)][-1]
    talk.speech()
    talk.do(ev.MarkEchoed(talk.now, late))
    assert news(talk).turns[0].marks == []


def test_of_a_turn_without_end_so_many_marks_are_kept_and_no_more() -> None:
    chronicle = Chronicle()
    chronicle.spoke("r", "item", 160, "speak", "", "he")
    for _ in range(MAX_MARKS + 5):
        chronicle.marked("item")
    assert len(chronicle.turns[0].marks) == MAX_MARKS


def test_what_plays_when_the_caller_hangs_up_was_heard_so_far() -> None:
    talk = Talk().started()
    talk.speak("greeting", 1000, GREETING)
    talk.now += 0.3125
    talk.do(ev.Ended(talk.now))
    assert news(talk).turns[0].heard_ms == 302


def test_a_turn_of_the_callers_says_how_long_they_spoke() -> None:
    talk = greeted()
    talk.speech()
    talk.now += 1.5
    talk.commit()
    turn = news(talk).turns[-1]
    assert (turn.who, turn.audio_ms) == ("caller", 1500)


def test_an_interruption_counts_when_the_caller_speaks_over_the_bot_and_stays_for_the_next_stream() -> None:
    talk = greeted()
    talk.turn()
    assert talk.talk.chronicle.barge_ins == 0, "they waited for their turn"
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    talk.speak("urgent", 1000, "זה דחוף?")
    talk.speech()
    assert talk.talk.chronicle.barge_ins == 1
    assert Talk(talk.talk).started().talk.chronicle.barge_ins == 1


def test_a_key_and_an_end_silence_the_bot_and_are_no_interruption() -> None:
    talk = Talk().started()
    talk.speak("greeting", 1000, GREETING)
    talk.do(ev.KeyPressed(talk.now, "1"))
    talk.do(ev.Ended(talk.now))
    assert news(talk).turns[0].heard_ms == 0
    assert talk.talk.chronicle.barge_ins == 0


def test_the_callers_words_come_late_and_are_theirs_all_the_same() -> None:
    talk = greeted()
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    news(talk)
    talk.do(ev.CallerWords(talk.now, "user_item", "אני בחיפה"))
    (turn,) = news(talk).turns
    assert (turn.number, turn.who, turn.text, turn.step, turn.language) == (2, "caller", "אני בחיפה", "city", "he")


def test_latency_counts_from_the_end_of_the_callers_turn_to_the_first_sound() -> None:
    talk = greeted()
    talk.turn()
    talk.now += 0.3
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    talk.now += 0.2
    talk.says("זה דחוף?")
    turn = news(talk).turns[-1]
    assert (turn.latency_ms, turn.judge_ms) == (500, 300)


def test_answers_breaches_and_judgements_are_told_once() -> None:
    talk = greeted()
    talk.turn()
    talk.judge("answer_step", step="urgent", value="yes", language="he")
    talk.says("סליחה. באיזו עיר?")
    talk.turn()
    talk.judge("answer_step", step="city", value="חיפה", language="he")
    told = news(talk)
    assert [(place, answer.step, answer.value) for place, answer in told.answers] == [(1, "city", "חיפה")]
    assert [(number, breach.what) for number, _, breach in told.breaches] == [(1, "judge")]
    assert [run.name for run in told.tools] == ["answer_step", "answer_step"]
    assert talk.talk.chronicle.news() is None


def test_a_correction_is_news_and_keeps_its_place() -> None:
    talk = greeted()
    talk.turn()
    talk.judge("answer_step", step="city", value="עכו", language="he")
    talk.says("זה דחוף?")
    news(talk)
    talk.turn()
    talk.judge("correct_answer", step="city", value="חיפה", language="he")
    assert [(place, answer.value) for place, answer in news(talk).answers] == [(1, "חיפה")]


def test_tokens_add_up_over_responses() -> None:
    talk = greeted()
    news(talk)
    for number in (1, 2):
        usage = ev.Usage(responses=1, input_text=100, cached_text=60, output_audio=7)
        talk.do(ev.ResponseDone(talk.now, f"other{number}", "completed", usage=usage))
    assert news(talk).usage == ev.Usage(responses=2, input_text=200, cached_text=120, output_audio=14)


def test_keys_are_a_turn_of_the_callers() -> None:
    talk = greeted()
    for key in "12#":
        talk.do(ev.KeyPressed(talk.now, key))
    kinds = [(turn.kind, turn.text) for turn in news(talk).turns if turn.who == "caller"]
    assert kinds == [("keys", "12")]


def test_a_second_stream_goes_on_counting() -> None:
    talk = Conversation(FLOW, PHRASES)
    first = Talk(talk).started()
    first.says(GREETING)
    first.do(ev.Ended(first.now))
    second = Talk(talk)
    second.now = first.now + 10
    second.started()
    second.says(GREETING)
    assert [(turn.number, turn.at_ms) for turn in news(second).turns] == [(1, 0), (2, 11_000)]


def test_a_share_of_words_never_ends_within_one() -> None:
    turn = Turn(1, "bot", "speak", 0, text="באיזו עיר אתם?", audio={"i": 8000}, heard_ms=550)
    assert turn.heard == "באיזו"


def test_a_sentence_whose_last_breath_was_cut_off_was_heard() -> None:
    turn = Turn(1, "bot", "speak", 0, text="באיזו עיר אתם?", audio={"i": 8000}, heard_ms=930)
    assert turn.heard == "באיזו עיר אתם?"


def test_what_the_transcriber_has_counted_is_news_by_itself() -> None:
    talk = greeted()
    talk.turn()
    news(talk)
    talk.do(ev.CallerWords(talk.now, "user_item", "אני בחיפה", seconds=1.5))
    assert news(talk).usage is not None
    assert talk.talk.chronicle.transcribed_s == 1.5
    assert talk.talk.chronicle.news() is None


def test_words_that_merely_go_on_are_told_now_and_then_and_whole_when_they_are_said() -> None:
    talk = Talk().started()
    talk.created()
    talk.added("greeting")
    talk.audio("greeting", 400)
    assert told_meanwhile(talk) == [400], "that it speaks is told at once"
    told: list[int] = []
    for _ in range(8):
        talk.now += 1
        talk.audio("greeting", 400)
        told += told_meanwhile(talk)
    assert told == [4 * 400 + 400, 8 * 400 + 400], "every four seconds"
    talk.now += 1
    talk.audio("greeting", 400)
    assert told_meanwhile(talk) == []
    talk.finish()
    assert told_meanwhile(talk) == [4000], "all is said: that is told at once"


def test_what_waits_to_be_told_is_told_at_the_end() -> None:
    talk = Talk().started()
    talk.created()
    talk.added("greeting")
    talk.audio("greeting", 400)
    assert told_meanwhile(talk) == [400]
    talk.audio("greeting", 400)
    assert told_meanwhile(talk) == []
    assert [turn.audio_ms for turn in news(talk).turns] == [800]


def told_meanwhile(talk: Talk) -> list[int]:
    """How long the turns are of which one is told while a call goes on."""
    told = talk.talk.chronicle.news(whole=False)
    return [turn.audio_ms for turn in told.turns] if told is not None else []
