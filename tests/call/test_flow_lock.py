"""Exactly one question is active, and only an accepted answer moves the flow on (Promise 3)."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kav.call.flow import CLOSING, Flow, Step, Transfer
from kav.call.flow_lock import FlowLock
from kav.call.ruling import Directive, Ruling

CITY = Step("city", {"he": "באיזו עיר?"}, kind="choice", choices=("חיפה", "עכו"))
URGENT = Step("urgent", {"he": "זה דחוף?"}, kind="yes_no", branches={"no": "name"})
PHONE = Step("phone", {"he": "מה הטלפון?"}, kind="phone", confirm=True, default_caller_id=True)
NAME = Step("name", {"he": "מה השם?"}, kind="name", optional=True, max_asks=2)
FLOW = Flow(
    id="test",
    business="בדיקה",
    direction="inbound",
    numbers=("+97231110000",),
    languages=("he",),
    greeting={"he": "שלום"},
    closing={"he": "להתראות"},
    steps=(CITY, URGENT, PHONE, NAME),
    transfer=Transfer("+97231110009", {"he": "מעבירה"}),
)


def asked(lock: FlowLock) -> FlowLock:
    """The active question was heard."""
    lock.asked(Directive("ask"))
    lock.heard()
    return lock


@pytest.fixture
def lock() -> FlowLock:
    return asked(FlowLock(FLOW, "+972501234567"))


def answer(lock: FlowLock, step: str, value: object, **more: object) -> Ruling:
    return lock.judge("answer_step", {"step": step, "value": value, **more})


def test_an_accepted_answer_moves_to_the_next_step(lock: FlowLock) -> None:
    assert answer(lock, "city", "חיפה").directive == Directive("ask", "urgent")
    assert lock.answers["city"].value == "חיפה"


def test_another_steps_answer_is_refused_and_noted(lock: FlowLock) -> None:
    ruling = answer(lock, "name", "דנה")
    assert ruling.breach == "answered name"
    assert (ruling.directive.say, lock.active) == ("not_understood", CITY)


def test_an_invalid_value_does_not_move_the_lock(lock: FlowLock) -> None:
    ruling = answer(lock, "city", "אילת")
    assert (ruling.directive.say, lock.active, lock.answers) == ("not_understood", CITY, {})


def test_a_branch_leads_where_it_says(lock: FlowLock) -> None:
    answer(lock, "city", "חיפה")
    asked(lock)
    assert answer(lock, "urgent", "no").directive == Directive("ask", "name")


def test_a_branch_may_end_the_steps() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(Step("go", {}, kind="yes_no", branches={"no": CLOSING}),))))
    assert answer(lock, "go", "no").directive == Directive("closing")
    assert lock.done


def test_a_yes_to_the_next_question_that_is_in_the_same_breath_is_its_answer(lock: FlowLock) -> None:
    assert answer(lock, "city", "חיפה", more=True).again
    ruling = lock.judge("answer_step", {"step": "urgent", "value": "yes"}, again=True)
    assert (lock.answers["urgent"].value, ruling.breach) == ("yes", "")


def test_a_side_answer_that_was_cut_does_not_count_as_a_question_the_less(lock: FlowLock) -> None:
    lock.asked(lock.judge("side_question", {}).directive)
    lock.cut()
    said: list[str] = []
    while not lock.answers:
        said.append(lock.judge("unclear", {}).directive.say)
        lock.asked(Directive(said[-1]))  # type: ignore[arg-type]  # one that the lock has just used
        lock.heard()
    assert said == ["answer_then_resume", *["not_understood"] * CITY.max_asks, "ask"], "the last asks the next step"


def test_a_bare_yes_to_a_question_that_was_not_heard_is_no_answer(lock: FlowLock) -> None:
    answer(lock, "city", "חיפה")
    lock.asked(Directive("ask"))
    assert answer(lock, "urgent", "yes").directive.say == "not_understood"
    assert "urgent" not in lock.answers


def test_a_value_volunteered_before_the_question_is_taken() -> None:
    assert answer(FlowLock(FLOW), "city", "עכו").directive == Directive("ask", "urgent")


def test_two_answers_in_one_breath_are_judged_twice(lock: FlowLock) -> None:
    first = answer(lock, "city", "חיפה", more=True)
    assert first.again
    second = lock.judge("unclear", {}, again=True)
    assert second == Ruling(Directive("ask", "urgent"))


def test_a_confirmed_step_is_read_back_and_a_yes_locks_it(lock: FlowLock) -> None:
    answer(lock, "city", "חיפה")
    asked(lock)
    answer(lock, "urgent", "yes")
    asked(lock)
    assert answer(lock, "phone", "caller_id").directive == Directive("confirm", "phone", "+972501234567")
    assert "phone" not in lock.answers
    assert answer(asked(lock), "phone", "yes").directive == Directive("ask", "name")
    assert lock.answers["phone"].value == "+972501234567"


def test_a_no_to_the_read_back_asks_again_and_another_value_replaces_it(lock: FlowLock) -> None:
    answer(lock, "city", "חיפה")
    answer(asked(lock), "urgent", "yes")
    answer(asked(lock), "phone", "caller_id")
    assert answer(lock, "phone", "0521234567").directive == Directive("confirm", "phone", "0521234567")
    assert answer(asked(lock), "phone", "no").directive == Directive("ask_again", "phone")
    assert "phone" not in lock.answers


def test_a_side_question_is_answered_and_the_step_stays(lock: FlowLock) -> None:
    assert lock.judge("side_question", {}).directive == Directive("answer_then_resume", "city")
    assert lock.judge("side_question", {}).directive == Directive("answer_then_resume", "city")
    assert (lock.active, lock.question) == (CITY, "resume")


@pytest.mark.parametrize("question", ["resume", "still_there"])
def test_a_yes_to_kavs_own_question_never_answers_the_step(lock: FlowLock, question: str) -> None:
    answer(lock, "city", "חיפה")
    asked(lock)
    lock.judge("side_question", {}) if question == "resume" else lock.check_presence()
    assert answer(lock, "urgent", "yes").directive == Directive("ask_again", "urgent")
    assert "urgent" not in lock.answers


def test_who_leaves_before_the_steps_are_done_is_not_told_that_all_is_done(lock: FlowLock) -> None:
    assert lock.judge("end_call", {}).directive == Directive("goodbye")
    lock = asked(FlowLock(replace(FLOW, steps=(CITY,))))
    answer(lock, "city", "חיפה")
    assert lock.judge("end_call", {}).directive == Directive("closing")


def test_a_no_to_resume_asks_what_else_and_another_no_is_goodbye(lock: FlowLock) -> None:
    lock.judge("side_question", {})
    assert answer(lock, "city", "לא").directive == Directive("what_else")
    assert answer(lock, "city", "לא").directive == Directive("goodbye")


def test_a_full_answer_to_resume_is_taken_at_once(lock: FlowLock) -> None:
    lock.judge("side_question", {})
    assert answer(lock, "city", "חיפה").directive == Directive("ask", "urgent")


def test_a_correction_changes_the_answer_and_not_the_lock(lock: FlowLock) -> None:
    answer(lock, "city", "עכו")
    asked(lock)
    ruling = lock.judge("correct_answer", {"step": "city", "value": "חיפה"})
    assert ruling.directive == Directive("ask", "urgent")
    assert (lock.answers["city"].value, lock.active) == ("חיפה", URGENT)
    assert lock.judge("correct_answer", {"step": "name", "value": "דנה"}).breach == "corrected no answer"


def test_dont_know_is_taken_where_the_flow_allows() -> None:
    lock = FlowLock(replace(FLOW, steps=(NAME,)))
    assert asked(lock).judge("unclear", {"reason": "dont_know"}).directive == Directive("closing")
    assert lock.answers["name"].unanswered == "dont_know"


@pytest.mark.parametrize(("optional", "say"), [(False, "transfer"), (True, "ask")])
def test_a_last_dont_know_is_handed_over_unless_the_step_may_stay_open(optional: bool, say: str) -> None:
    step = replace(CITY, optional=optional, max_asks=1, give_up="transfer")
    ruling = asked(FlowLock(replace(FLOW, steps=(step, NAME)))).judge("unclear", {"reason": "dont_know"})
    assert ruling.directive.say == say


def test_a_step_that_was_asked_too_often_is_recorded_as_unanswered(lock: FlowLock) -> None:
    for _ in range(2):
        assert lock.judge("unclear", {}).directive == Directive("not_understood", "city")
        asked(lock)
    assert lock.judge("unclear", {}).directive == Directive("ask", "urgent")
    assert lock.answers["city"].unanswered == "not_understood"


def test_a_question_cut_before_it_began_was_not_asked(lock: FlowLock) -> None:
    for _ in range(10):
        lock.asked(Directive("ask_again", "city"))
        lock.cut()
    assert lock.judge("unclear", {}).directive == Directive("not_understood", "city")


def test_an_unknown_tool_is_refused_and_noted(lock: FlowLock) -> None:
    assert lock.judge("hang_up_now", {}) == Ruling(
        Directive("not_understood", "city", why="there is no tool hang_up_now"), breach="called hang_up_now"
    )


def test_a_transfer_without_a_human_is_said_to_be_none() -> None:
    lock = asked(FlowLock(replace(FLOW, transfer=None)))
    assert lock.judge("transfer_to_human", {}).directive == Directive("no_transfer", "city")


JUDGEMENTS = st.tuples(
    st.sampled_from(["answer_step", "correct_answer", "side_question", "unclear", "transfer_to_human", "nonsense"]),
    st.fixed_dictionaries(
        {},
        optional={
            "step": st.sampled_from(["city", "urgent", "phone", "name", "x"]),
            "value": st.sampled_from(["חיפה", "yes", "no", "כן", "0501234567", "דנה", "", None, True, 5, [1]]),
            "more": st.booleans(),
            "reason": st.sampled_from(["dont_know", "unclear"]),
        },
    ),
    st.booleans(),
    st.sampled_from(["heard", "cut", "presence", "nothing"]),
)


@given(st.lists(JUDGEMENTS, max_size=40))
def test_never_an_advance_without_an_accepted_answer(
    judgements: list[tuple[str, Mapping[str, object], bool, str]],
) -> None:
    """The active step changes only together with its own answer, or its own unanswered, on record."""
    lock = FlowLock(FLOW, "+972501234567")
    for tool, arguments, again, what in judgements:
        before, answers = lock.active, dict(lock.answers)
        ruling = lock.judge(tool, arguments, again=again)
        if lock.active != before and tool == "correct_answer":
            assert lock.answers != answers or lock.question == "confirm"
        elif lock.active != before:
            assert before is not None
            assert lock.answers.get(before.id) not in (None, answers.get(before.id))
        if tool in ("side_question", "nonsense", "transfer_to_human"):
            assert lock.answers == answers
        assert not (again and ruling.again), "a turn is judged twice at the most"
        assert (lock.question == "none") == (lock.active is None or ruling.directive.say in ("closing", "goodbye"))
        lock.asked(ruling.directive)
        after: dict[str, Callable[[], None]] = {"heard": lock.heard, "cut": lock.cut, "presence": lock.check_presence}
        after.get(what, lambda: None)()


def test_a_yes_to_a_read_back_that_was_not_heard_confirms_nothing(lock: FlowLock) -> None:
    answer(lock, "city", "חיפה")
    answer(asked(lock), "urgent", "yes")
    lock.asked(answer(asked(lock), "phone", "caller_id").directive)
    assert answer(lock, "phone", "yes").directive.say == "confirm"
    assert "phone" not in lock.answers


def test_a_no_to_what_else_that_was_not_heard_hangs_nobody_up(lock: FlowLock) -> None:
    lock.judge("side_question", {})
    lock.asked(answer(lock, "city", "לא").directive)
    assert answer(lock, "city", "לא").directive.say == "what_else"


def test_a_flow_without_steps_is_neither_completed_nor_left() -> None:
    assert FlowLock(replace(FLOW, steps=())).completed is None


def test_a_flow_is_completed_when_each_step_that_was_asked_has_its_answer() -> None:
    lock = FlowLock(replace(FLOW, steps=(CITY, NAME)))
    assert lock.completed is False
    answer(asked(lock), "city", "חיפה")
    lock.judge("unclear", {"reason": "dont_know"})  # NAME may stay open
    assert (lock.done, lock.completed) == (True, True)


def test_a_flow_whose_step_was_given_up_is_not_completed() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(replace(NAME, optional=False, max_asks=1),))))
    lock.judge("unclear", {"reason": "not_understood"})
    assert (lock.done, lock.answers["name"].unanswered, lock.completed) == (True, "not_understood", False)


def failed(lock: FlowLock, tool: str = "unclear", **arguments: object) -> str:
    """What is said to a turn that brought nothing, and was heard to its end."""
    directive = lock.judge(tool, arguments).directive
    lock.asked(directive)
    lock.heard()
    return directive.say


def test_only_who_has_heard_the_question_and_not_answered_it_uses_its_patience_up() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(replace(CITY, max_asks=2, give_up="end"),))))
    for _ in range(3):
        failed(lock, "side_question")
        assert failed(lock, "answer_step", value="yes") == "ask_again", "a question of theirs, and back: nobody failed"
    lock.check_presence()
    assert failed(lock, "answer_step", value="yes") == "ask_again"
    assert failed(lock) == "not_understood"
    assert failed(lock) == "goodbye"


def test_a_sign_of_listening_over_a_side_answer_lets_it_go_on_and_answers_nothing(lock: FlowLock) -> None:
    for tool, arguments in (("unclear", {}), ("answer_step", {"value": "כן"})):
        lock.asked(lock.judge("side_question", {}).directive)
        lock.cut()
        assert (lock.context, lock.question) == ("answer", "step"), "nobody was asked whether to go on"
        assert lock.judge(tool, arguments).directive.say == "answer_then_resume"
        assert lock.question == "resume"
    assert lock.answers == {}


def test_a_side_answer_is_taken_up_twice_at_the_most_and_gives_way_to_whatever_was_said(lock: FlowLock) -> None:
    said: list[str] = []
    lock.asked(lock.judge("side_question", {}).directive)
    for _ in range(3):
        lock.cut()
        directive = lock.judge("unclear", {}).directive
        lock.asked(directive)
        said.append(directive.say)
    assert said == ["answer_then_resume", "answer_then_resume", "not_understood"]
    lock.asked(lock.judge("side_question", {}).directive)
    lock.cut()
    assert answer(lock, "city", "חיפה").directive == Directive("ask", "urgent")


def read_back() -> FlowLock:
    """A value was read back, and that was heard."""
    lock = asked(FlowLock(replace(FLOW, steps=(PHONE, NAME), transfer=None)))
    lock.asked(answer(lock, "phone", "0501234567").directive)
    lock.heard()
    return lock


def test_what_is_right_instead_is_the_value_whichever_tool_the_model_takes() -> None:
    lock = read_back()
    ruling = lock.judge("correct_answer", {"step": "phone", "value": "0521234567"})
    assert (ruling.directive, ruling.breach) == (Directive("confirm", "phone", "0521234567"), "")


def test_a_value_that_was_read_back_and_never_denied_is_kept_as_unconfirmed() -> None:
    lock = read_back()
    for _ in range(PHONE.max_asks):
        failed(lock)
    assert (lock.answers["phone"].value, lock.answers["phone"].unanswered) == ("0501234567", "unconfirmed")
    lock.judge("unclear", {"reason": "dont_know"})
    assert (lock.done, lock.completed) == (True, False)
    lock = read_back()
    for value in ("no", "0501234567") * PHONE.max_asks:
        failed(lock, "answer_step", value=value)
    assert lock.answers["phone"].value is None, "they have said that it is wrong"


def test_a_question_behind_a_value_is_answered_and_the_value_is_read_back_after_it(lock: FlowLock) -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(PHONE,))))
    first = answer(lock, "phone", "0501234567", more=True)
    assert first.again
    assert answer(lock, "phone", "yes").directive.say == "confirm", "what was not read back yet is not confirmed"
    assert lock.judge("side_question", {}, again=True).directive.say == "answer_then_resume"
    lock.asked(Directive("answer_then_resume", "phone"))
    lock.heard()
    assert answer(lock, "phone", "yes").directive == Directive("confirm", "phone", "0501234567")


def test_the_rest_of_the_turn_that_answers_the_last_step_is_heard() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(CITY,))))
    assert answer(lock, "city", "חיפה", more=True).again
    talk = lock.judge("side_question", {}, again=True).directive
    assert talk.say == "talk"
    lock.asked(talk)
    lock.heard()
    assert lock.context == "what_else"
    assert answer(lock, "city", "no").directive == Directive("closing")
    assert asked(FlowLock(replace(FLOW, steps=(CITY,)))).judge("unclear", {}, again=True).directive.say == "ask"


@pytest.mark.parametrize(
    ("tool", "context"), [("transfer_to_human", "transfer"), ("end_call", "goodbye"), ("side_question", "resume")]
)
def test_who_speaks_over_last_words_is_judged_as_one_who_has_heard_them(
    lock: FlowLock, tool: str, context: str
) -> None:
    lock.asked(lock.judge(tool, {}).directive)
    lock.heard()
    assert lock.context == context
    failed(lock, "answer_step", step="city", value="חיפה")
    assert lock.context == "step"


def test_nobody_is_hung_up_on_for_wanting_a_person_when_all_was_asked() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(CITY,), transfer=None)))
    answer(lock, "city", "חיפה")
    assert lock.judge("transfer_to_human", {}).directive.say == "talk"


GO = Step("go", {"he": "מתאים?"}, kind="yes_no", branches={"no": CLOSING})
DAY = Step("day", {"he": "באיזה יום?"})


def test_a_change_of_mind_leads_to_the_questions_that_it_opens() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(GO, DAY))))
    assert answer(lock, "go", "no").directive == Directive("closing")
    assert lock.judge("correct_answer", {"step": "go", "value": "yes"}).directive == Directive("ask", "day")
    assert (lock.active, lock.completed) == (DAY, False)
    assert lock.judge("correct_answer", {"step": "go", "value": "no"}).directive == Directive("closing")


def test_a_question_that_a_correction_opens_leads_back_to_the_first_without_an_answer() -> None:
    first = Step("first", {}, kind="choice", choices=("חדש", "ישן"), branches={"ישן": "urgent"})
    lock = asked(FlowLock(replace(FLOW, steps=(first, NAME, URGENT, CITY))))
    answer(lock, "first", "ישן")
    answer(asked(lock), "urgent", "yes")
    assert lock.judge("correct_answer", {"step": "first", "value": "חדש"}).directive == Directive("ask", "name")
    assert answer(asked(lock), "name", "דנה").directive == Directive("ask", "city"), "what was answered stays so"


def test_the_model_may_put_the_form_of_a_value_right_before_the_caller_is_asked() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(Step("day", {}, kind="date", max_asks=1), CITY))))
    first = answer(lock, "day", "12.5.85")
    assert (first.retry, first.breach) == (
        "the value must be a date as YYYY-MM-DD that exists",
        "invalid value for day",
    )
    assert answer(lock, "day", "1985-05-12").directive == Directive("ask", "city")
    lock = asked(FlowLock(replace(FLOW, steps=(Step("day", {}, kind="date"), CITY))))
    answer(lock, "day", "x")
    assert answer(lock, "day", "y").directive.say == "not_understood"


@pytest.mark.parametrize("step", ["city", "phone"])
def test_who_goes_on_while_the_rest_of_a_turn_is_judged_has_heard_nothing_new(step: str) -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(replace(CITY, confirm=step == "phone"), URGENT))))
    assert answer(lock, "city", "חיפה", more=True).again
    lock.heard()  # of what was said before
    before = dict(lock.answers)
    answer(lock, "city" if step == "phone" else "urgent", "yes")
    assert lock.answers == before, "a yes to what was never said"


def test_the_rest_of_a_turn_is_judged_for_itself(lock: FlowLock) -> None:
    lock.asked(lock.judge("end_call", {}).directive)
    lock.cut()
    assert answer(lock, "city", "חיפה", more=True).again
    assert lock.context == "step"
    lock.asked(Directive("ask", "urgent"))
    lock.asked(lock.judge("side_question", {}).directive)
    lock.cut()
    assert lock.judge("correct_answer", {"step": "city", "value": "עכו", "more": True}).again
    assert lock.judge("answer_step", {"step": "urgent", "value": "yes"}, again=True).directive == Directive(
        "ask", "phone"
    )


def test_what_was_wrong_with_a_value_is_told_when_the_caller_is_asked_after_all() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(PHONE,))))
    why = answer(lock, "phone", "052").retry
    assert why
    assert lock.judge("unclear", {}).directive == Directive("not_understood", "phone", why=why)
    lock = asked(FlowLock(replace(FLOW, steps=(PHONE,)), "anonymous"))
    ruling = answer(lock, "phone", "caller_id")
    assert (ruling.retry, "not known" in ruling.directive.why) == ("", True), "its form was right"


def test_noise_at_the_question_whether_they_are_there_uses_patience_up() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(replace(CITY, give_up="end"),))))
    said: list[str] = []
    for _ in range(CITY.max_asks):
        lock.heard()
        lock.check_presence()
        said.append(lock.judge("unclear", {}).directive.say)
        lock.asked(Directive(said[-1]))  # type: ignore[arg-type]  # one that the lock has just used
    assert said == ["not_understood", "not_understood", "goodbye"]


def test_noise_where_no_step_is_asked_ends_in_a_goodbye_and_a_question_begins_anew(lock: FlowLock) -> None:
    lock.judge("side_question", {})
    answer(lock, "city", "no")
    assert [failed(lock) for _ in range(3)] == ["what_else", "what_else", "goodbye"]
    lock = asked(FlowLock(replace(FLOW, steps=(CITY,))))
    answer(lock, "city", "חיפה")
    said = [failed(lock, tool) for tool in ("unclear", "unclear", "side_question", "unclear", "unclear", "unclear")]
    assert said == ["talk"] * 5 + ["closing"]


def test_a_no_over_an_answer_after_the_last_step_hangs_nobody_up() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(CITY,))))
    answer(lock, "city", "חיפה")
    lock.asked(lock.judge("side_question", {}).directive)
    lock.cut()
    assert lock.context == "answer"
    assert answer(lock, "city", "no").directive.say == "talk"


@pytest.mark.parametrize(("tool", "say"), [("transfer_to_human", "transfer"), ("end_call", "goodbye")])
def test_a_yes_over_last_words_agrees_to_them_and_a_no_does_not(tool: str, say: str) -> None:
    for value, then in (("yes", say), ("no", "ask_again")):
        lock = asked(FlowLock(replace(FLOW, steps=(URGENT, NAME))))
        lock.asked(lock.judge(tool, {}).directive)
        lock.heard()
        assert answer(lock, "urgent", value).directive.say == then
        assert lock.answers == {}


def test_what_else_was_said_behind_a_value_does_not_replace_it() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(PHONE,))))
    answer(lock, "phone", "0501234567", more=True)
    ruling = lock.judge("answer_step", {"step": "phone", "value": "0529999999"}, again=True)
    assert ruling.directive == Directive("confirm", "phone", "0501234567")


def test_a_step_that_is_given_up_on_a_way_that_a_correction_opened_leads_to_what_is_open() -> None:
    first = Step("first", {}, kind="choice", choices=("חדש", "ישן"), branches={"ישן": "urgent"})
    lock = asked(FlowLock(replace(FLOW, steps=(first, NAME, URGENT, CITY))))
    answer(lock, "first", "ישן")
    answer(asked(lock), "urgent", "yes")
    lock.judge("correct_answer", {"step": "first", "value": "חדש"})
    assert asked(lock).judge("unclear", {"reason": "dont_know"}).directive == Directive("ask", "city")


def test_a_value_that_nobody_has_confirmed_leads_nowhere_else() -> None:
    go = replace(GO, confirm=True, max_asks=1)
    lock = asked(FlowLock(replace(FLOW, steps=(go, DAY, CITY))))
    lock.asked(answer(lock, "go", "לא").directive)
    lock.heard()
    assert lock.judge("unclear", {}).directive == Directive("ask", "day")
    assert lock.answers["go"].unanswered == "unconfirmed"
    assert answer(asked(lock), "day", "מחר").directive == Directive("ask", "city")


def test_a_correction_of_what_must_be_confirmed_is_read_back_and_leads_back() -> None:
    lock = asked(FlowLock(replace(FLOW, steps=(PHONE, NAME))))
    lock.asked(answer(lock, "phone", "0501234567").directive)
    lock.heard()
    lock.asked(answer(lock, "phone", "yes").directive)
    lock.heard()
    corrected = lock.judge("correct_answer", {"step": "phone", "value": "0521111111"}).directive
    assert corrected == Directive("confirm", "phone", "0521111111")
    assert lock.answers["phone"].value == "0501234567", "not before the yes"
    assert answer(asked(lock), "phone", "yes").directive == Directive("ask", "name")
    assert lock.answers["phone"].value == "0521111111"
