"""A business's own tools in a call: called where words are free, twice at most, and never in the caller's way."""

from dataclasses import replace

import pytest

from kav.call import actions as act
from kav.call import events as ev
from kav.call.audit import Breach
from kav.call.chronicle import LEFT
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.flow import HttpTool
from kav.call.replies import LOST, REFUSED, TOOL_DEADLINE_S
from kav.call.session import CallSession
from tests.call.test_conversation import FLOW, GREETING, PHRASES, Talk, said

SLOTS = HttpTool("free_slots", "What is free.", "https://clinic.example.com/slots", "GET", {"type": "object"})
RESUME = PHRASES["he"]["resume"]


class Clinic(Talk):
    """A call whose flow has a tool, as far as its greeting."""

    def __init__(self, *, steps: bool = True, confirm: bool = False, reconnects: int = 0) -> None:
        """`confirm`: what the first step brings is read back."""
        first, *others = FLOW.steps
        flow = replace(FLOW, tools=(SLOTS,), steps=(replace(first, confirm=confirm), *others) if steps else ())
        super().__init__(Conversation(flow, PHRASES, "+972501234567"))
        self.session = CallSession(CallRules(900, 8, reconnects=reconnects), self.talk)
        self.started()
        self.says(self.asked_for().text)

    def asks_something(self) -> str:
        """The caller asks something in between, and the model begins its reply."""
        self.turn()
        if self.asked_for().kind == "judge":
            self.judge("side_question", question="מה פנוי?", language="he")
        return self.created()

    def calls(self, name: str = "free_slots", call: str = "c1") -> list[act.Action]:
        return self.do(ev.ToolCalled(self.now, self.active or "", f"item_{call}", call, name, "{}"))

    def comes_back(self, call: str = "c1", output: str = "10:00") -> list[act.Action]:
        return self.do(ev.ToolFinished(self.now, call, output))


@pytest.fixture
def clinic() -> Clinic:
    return Clinic()


def test_a_question_in_between_may_call_a_tool_and_is_then_answered_in_the_same_place(clinic: Clinic) -> None:
    clinic.asks_something()
    asked = clinic.asked_for()
    assert (asked.kind, asked.tools, *said(clinic)) == ("speak", "may_call", "answer_then_resume", "city")
    assert clinic.calls() == [act.RunTool("c1", "free_slots", "{}")]
    assert clinic.finish() == [], "nothing is asked for while the tool works"
    again = replace(asked, key="kav4")
    assert clinic.comes_back() == [act.SendToolOutput("c1", "10:00"), again]
    clinic.says(f"פנוי בעשר. {RESUME}")
    assert clinic.talk.breaches == []
    clinic.turn()
    clinic.judge("answer_step", step="city", value=True, language="he")
    assert said(clinic) == ("ask_again", "city"), "back at the step that was left"


def test_the_resume_phrase_is_held_to_what_is_said_after_the_tool(clinic: Clinic) -> None:
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    clinic.comes_back()
    clinic.says("פנוי בעשר.")
    assert clinic.talk.breaches == [Breach("resume phrase missing")]
    assert clinic.asked_for().text == RESUME


def test_what_is_said_before_the_call_stands_and_the_reply_goes_on_after_it(clinic: Clinic) -> None:
    response = clinic.asks_something()
    clinic.added("filler")
    clinic.audio("filler", 500)
    clinic.do(ev.BotWords(clinic.now, response, "filler", "רק בודקת.", whole=True))
    clinic.do(ev.ItemAudioDone(clinic.now, response, "filler"))
    clinic.calls()
    clinic.finish()
    assert clinic.talk.breaches == [], "the sentence before the call is not the whole reply"
    assert clinic.of(act.ClearPlayback) == []
    clinic.comes_back()
    assert said(clinic) == ("answer_then_resume", "city")


@pytest.mark.parametrize("steps", [True, False])
def test_after_two_rounds_of_tools_the_reply_must_be_said(steps: bool) -> None:
    clinic = Clinic(steps=steps)
    clinic.asks_something()
    seen = [clinic.asked_for().tools]
    for call in ("c1", "c2"):
        clinic.calls(call=call)
        clinic.finish()
        clinic.comes_back(call)
        seen.append(clinic.asked_for().tools)
        clinic.created()
    assert seen == (["may_call", "may_call", "as_kind"] if steps else ["as_kind", "as_kind", "no_more"])
    assert clinic.calls(call="c3") == [act.SendToolOutput("c3", REFUSED)]


def test_two_calls_in_one_response_get_two_outputs_and_one_reply(clinic: Clinic) -> None:
    clinic.asks_something()
    clinic.calls(call="c1")
    clinic.calls(call="c2")
    clinic.finish()
    assert clinic.comes_back("c2") == [act.SendToolOutput("c2", "10:00")], "the other one is still at work"
    first, asked = clinic.comes_back("c1")
    assert first == act.SendToolOutput("c1", "10:00")
    assert isinstance(asked, act.RequestResponse)
    clinic.says(f"פנוי בעשר. {RESUME}")
    assert len(clinic.of(act.RequestResponse)) == 4, "greeting, judgement, the call, one reply"


@pytest.mark.parametrize("name", ["answer_step", "end_call", "current_time", "nonsense"])
def test_any_other_tool_is_refused_and_the_reply_is_asked_for_without_tools(clinic: Clinic, name: str) -> None:
    clinic.asks_something()
    assert clinic.calls(name) == [act.SendToolOutput("c1", REFUSED)]
    (again,) = clinic.finish()
    assert isinstance(again, act.RequestResponse)
    assert (again.tools, *said(clinic)) == ("as_kind", "answer_then_resume", "city")
    assert Breach("tool not offered", name) in clinic.talk.breaches
    assert clinic.talk.lock.answers == {}
    clinic.created()
    clinic.calls(name, "c2")
    assert clinic.finish() == [act.EndCall("model_failed", apologise=True)], "not for ever"


def test_a_question_of_the_script_is_asked_without_tools(clinic: Clinic) -> None:
    clinic.turn()
    clinic.judge("answer_step", step="city", value="חיפה", language="he")
    assert (clinic.asked_for().kind, clinic.asked_for().tools) == ("speak", "as_kind")
    clinic.created()
    assert clinic.calls() == [act.SendToolOutput("c1", REFUSED)]


def test_without_tools_in_the_flow_nothing_may_be_called() -> None:
    talk = Talk().started()
    talk.says(GREETING)
    talk.turn()
    talk.judge("side_question", question="מה פנוי?", language="he")
    assert talk.asked_for().tools == "as_kind"


# The caller speaks while a tool works


def test_a_caller_who_speaks_is_heard_at_once_and_the_result_is_only_remembered(clinic: Clinic) -> None:
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    clinic.turn()
    assert clinic.asked_for().kind == "judge", "the tool is not waited for"
    assert clinic.comes_back() == [act.SendToolOutput("c1", "10:00")], "nothing is said of it"
    clinic.judge("answer_step", step="city", value="חיפה", language="he")
    assert said(clinic) == ("ask", "urgent")
    clinic.says("זה דחוף?")
    assert clinic.finish() == []


def test_a_question_that_waits_for_a_tool_was_not_asked(clinic: Clinic) -> None:
    """The caller's bare "yes" can be no answer to what they have not heard."""
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    clinic.now += 1
    clinic.speech()
    assert not clinic.talk.lock.began


def test_where_there_are_no_steps_the_result_is_told_after_the_turn() -> None:
    clinic = Clinic(steps=False)
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    clinic.turn()
    clinic.says("רק רגע.")
    assert [type(action) for action in clinic.comes_back()] == [act.SendToolOutput, act.RequestResponse]


# Time


def test_the_silence_clock_stands_while_a_tool_works(clinic: Clinic) -> None:
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    asked = len(clinic.of(act.RequestResponse))
    for _ in range(100):
        clinic.now += 0.1
        clinic.session.model_seen(clinic.now)
        clinic.do(ev.Tick(clinic.now))
    assert len(clinic.of(act.RequestResponse)) == asked, "ten seconds, and nobody is asked whether they are there"
    clinic.comes_back()
    assert said(clinic) == ("answer_then_resume", "city")


def test_a_tool_that_never_comes_back_is_given_up_and_ignored_later(clinic: Clinic) -> None:
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    clinic.now += TOOL_DEADLINE_S - 0.5
    clinic.session.model_seen(clinic.now)
    assert not [action for action in clinic.do(ev.Tick(clinic.now)) if isinstance(action, act.SendToolOutput)]
    clinic.now += 1
    given_up, asked, *_ = clinic.do(ev.Tick(clinic.now))
    assert given_up == act.SendToolOutput("c1", LOST)
    assert isinstance(asked, act.RequestResponse)
    assert clinic.comes_back() == []


def test_a_process_that_stood_still_takes_no_time_from_a_tool(clinic: Clinic) -> None:
    clinic.asks_something()
    clinic.calls()
    clinic.finish()
    clinic.now += 30
    clinic.do(ev.HubLate(clinic.now, 30))
    clinic.session.model_seen(clinic.now)
    assert not [action for action in clinic.do(ev.Tick(clinic.now)) if isinstance(action, act.SendToolOutput)]


def test_every_call_of_a_tool_is_on_the_calls_account(clinic: Clinic) -> None:
    clinic.asks_something()
    clinic.calls()
    clinic.now += 0.7
    clinic.comes_back()
    run = clinic.talk.chronicle.tools["c1"]
    assert (run.name, run.arguments, run.output, run.duration_ms) == ("free_slots", "{}", "10:00", 700)


@pytest.mark.parametrize("killed", [False, True])
def test_a_tool_whose_stream_is_over_first_is_on_record_as_left(clinic: Clinic, killed: bool) -> None:
    clinic.asks_something()
    clinic.calls()
    if killed:  # its process wrote nothing more
        Talk(clinic.talk).started()
    else:
        clinic.do(ev.Ended(clinic.now))
    run = clinic.talk.chronicle.tools["c1"]
    assert (run.ok, run.output, run.duration_ms is None) == (False, LEFT, False)
