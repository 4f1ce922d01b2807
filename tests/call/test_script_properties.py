"""Lock, silence and goodbye together, for arbitrary orders of events and a model that obeys only when it likes.

Never two active questions, never an advance without an accepted answer, the resume phrase after every side question
unless the caller was first or the call ended, every call ends, and nothing after the end.
"""

import json
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from kav.call import actions as act
from kav.call import events as ev
from kav.call.audit import plain
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules
from kav.call.flow import Flow, Step, Transfer
from kav.call.session import CallSession
from tests.call.test_conversation import PHRASES
from tests.call.world import World

FLOW = Flow(
    id="test",
    business="בדיקה",
    direction="inbound",
    numbers=(),
    languages=("he", "en"),
    greeting={"he": "השיחה מוקלטת. שלום, נציג דיגיטלי.", "en": "This call is recorded. Hello."},
    closing={"he": "הכול נרשם, להתראות.", "en": "All noted, goodbye."},
    steps=(
        Step("city", {"he": "באיזו עיר?", "en": "Which city?"}, kind="choice", choices=("חיפה", "עכו")),
        Step("urgent", {"he": "זה דחוף?", "en": "Is it urgent?"}, kind="yes_no", branches={"no": "name"}),
        Step("phone", {"he": "מה הטלפון?"}, kind="phone", confirm=True, default_caller_id=True, give_up="transfer"),
        Step("name", {"he": "מה השם?"}, kind="name", optional=True, max_asks=2, give_up="end"),
    ),
    transfer=Transfer("+97231110009", {"he": "רגע, מעבירה."}),
    recording={"he": "השיחה מוקלטת.", "en": "This call is recorded."},
)
LONGEST_S = 300.0
RULES = CallRules(max_call_s=LONGEST_S, reply_timeout_s=8)

TOOLS = ("answer_step",) * 4 + ("correct_answer", "side_question", "unclear", "transfer_to_human", "end_call", "hm")
LANGUAGES = ("he", "he", "he", "en", "fr", 7)
VALUES = ("חיפה", "yes", "no", "caller_id", "0501234567", "דנה", "", None, True, 5)
WORDS = ("", "כן, בשמחה.", "הכול נרשם, להתראות.", "Sure, my dear friend.", "מה שם הכלב? ומה גילו?")
STEPS = ("city", "urgent", "phone", "name", "x")


class Telephone:
    """A call in which anything may happen next that can happen on a real line."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.talk = Conversation(FLOW, PHRASES, "+972501234567")
        self.world = World(CallSession(replace(RULES, recorded=chance.choice((True, False))), self.talk))
        self.world.started()
        self.began_at = self.world.now
        self.calls = 0
        self.step, self.answers = self.talk.lock.active, dict(self.talk.lock.answers)
        self.owes_resume = False

    @property
    def request(self) -> act.RequestResponse | None:
        """What was asked for last, and is not done."""
        if self.world.requested is None and self.world.active is None:
            return None
        last = self.world.of(act.RequestResponse)[-1]
        assert isinstance(last, act.RequestResponse)
        return last

    # The line

    def time_passes(self) -> None:
        self.world.now += self.chance.choice((0.05, 0.5, 3.1))
        self.world.session.model_seen(self.world.now)
        self.world.do(ev.Tick(self.world.now))

    def all_is_played(self) -> None:
        self.world.now += 1
        self.world.marks_return()

    def caller_speaks(self) -> None:
        self.owes_resume = False
        self.world.speech()

    def caller_takes_a_turn(self) -> None:
        """They say something, or come to the end of what they are saying."""
        if not self.world.session.listening:
            self.caller_speaks()
        self.world.commit()

    def caller_ends_the_turn(self) -> None:
        if self.world.session.listening:
            self.world.commit()

    def caller_keys(self) -> None:
        self.owes_resume = False
        for key in self.chance.choice(("1", "2", "9", "0501234567#", "*", "#", "4711")):
            self.world.do(ev.KeyPressed(self.world.now, key))

    def words_come(self) -> None:
        text = self.chance.choice(("חיפה", "I am in Haifa now", "כן", ""))
        self.world.do(ev.CallerWords(self.world.now, "user_item", text))

    # The model

    def response_begins(self) -> None:
        if self.world.requested is not None:
            self.world.created()

    def model_judges(self, *, whole: bool = False) -> None:
        if self.world.active is None or self.request is None or self.request.kind != "judge":
            return
        self.calls += 1
        tool, text = self.chance.choice(TOOLS), json.dumps(self.arguments())
        text = text[:-1] if not whole and self.chance.random() < 0.5 else text
        call = f"call{self.calls}"
        self.world.do(ev.ToolCalled(self.world.now, self.world.active or "", f"item_{call}", call, tool, text))

    def arguments(self) -> dict[str, object]:
        """What a judge may say: mostly of the active step, and mostly sensible."""
        active = self.talk.lock.active
        sensible = self.chance.random() < 0.7 and active is not None
        step = active.id if sensible and active is not None else self.chance.choice(STEPS)
        fitting = {"city": "חיפה", "urgent": "yes", "phone": "caller_id", "name": "דנה"}.get(step)
        value = fitting if self.chance.random() < 0.6 else self.chance.choice(VALUES)
        more, never = self.chance.random() < 0.2, self.chance.random() < 0.2
        reason = self.chance.choice(("dont_know", "refused"))
        language = self.chance.choice(LANGUAGES)
        return {
            "language": language,
            "step": step,
            "value": value,
            "more": more,
            "reason": reason,
            "do_not_call": never,
        }

    def model_speaks(self) -> None:
        if self.world.active is None or self.request is None or self.request.kind == "judge":
            return
        item, words = f"said{self.world.responses}", self.obedient_words(self.request)
        words = words if self.chance.random() < 0.7 else self.chance.choice(WORDS)
        self.world.added(item)
        self.world.audio(item, self.chance.randint(100, 4000))
        self.world.do(ev.BotWords(self.world.now, self.world.active or "", item, words, whole=True))

    def model_does_what_is_asked(self) -> None:
        """From beginning to end, as happens most: single events come together too seldom by chance."""
        if self.request is None:
            return
        if self.world.requested is not None:
            self.world.created()
        if self.request is not None and self.request.kind == "judge":
            self.model_judges(whole=True)
        elif self.request is not None:
            self.model_speaks()
        self.response_ends("completed")

    def obedient_words(self, request: act.RequestResponse) -> str:
        """The phrase, the question, or an answer with the resume phrase at its end."""
        directive = request.directive
        step = FLOW.step(directive.step) if directive is not None else None
        if directive is not None and directive.say == "answer_then_resume":
            return "בשבע. " + PHRASES.get(request.language, {}).get("resume", "Continuer ?")
        return request.text or (step.ask.get(request.language, "") if step is not None else "בסדר.")

    def response_ends(self, status: ev.ResponseStatus | None = None) -> None:
        if self.world.active is None:
            return
        ways: tuple[ev.ResponseStatus, ...] = ("completed", "cancelled", "incomplete", "failed")
        way: ev.ResponseStatus = status if status is not None else self.chance.choice(ways)
        request, response = self.request, self.world.session._replies.response  # noqa: SLF001 - what was said in it
        assert request is not None
        heard_out = way == "completed" and response is not None and not response.dead and response.spoke
        said = plain(response.transcript) if response is not None else ""
        self.world.finish(way)
        if heard_out and request.directive is not None and request.directive.say == "answer_then_resume":
            wanted = plain(PHRASES.get(request.language, {}).get("resume", ""))
            self.owes_resume = bool(wanted) and not said.endswith(wanted)

    # What must be true

    def the_flow_moves_only_with_an_answer(self) -> None:
        lock = self.talk.lock
        if lock.active != self.step:
            new = {step for step, answer in lock.answers.items() if self.answers.get(step) != answer}
            own = self.step is not None and self.step.id in new
            put_right = new & set(self.answers) or lock.question in ("confirm", "still_there")
            assert own or put_right, "with its own answer, or with one that is put right"
        for step, answer in lock.answers.items():
            open_still = answer.value is None or answer.unanswered == "unconfirmed"
            assert open_still == bool(answer.unanswered), f"{step} is answered, or on record as not"
        self.step, self.answers = lock.active, dict(lock.answers)

    def one_question_is_active(self) -> None:
        request = self.request
        directive = request.directive if request is not None else None
        if directive is not None and directive.step and request is not None and request.kind == "speak":
            dead = self.world.session._replies.response  # noqa: SLF001 - one that may not be heard asks nothing
            active = self.talk.lock.active
            assert (dead is not None and dead.dead) or (active is not None and directive.step == active.id)

    def a_side_question_is_followed_by_the_resume_phrase(self) -> None:
        if self.owes_resume and not self.world.ended:
            assert self.request is not None
            assert self.request.phrase in ("resume", "limit_notice")
            self.owes_resume = self.request.phrase != "resume"

    def nobody_is_left_on_an_open_line(self) -> None:
        lasted = self.world.now - self.began_at
        assert self.world.ended or lasted < LONGEST_S + 2.1

    def check(self) -> None:
        """All that must be true at any moment."""
        self.the_flow_moves_only_with_an_answer()
        self.one_question_is_active()
        self.a_side_question_is_followed_by_the_resume_phrase()
        self.nobody_is_left_on_an_open_line()

    def only_time_is_left(self) -> None:
        """The model is gone, the caller is gone: the call ends, and nothing follows."""
        for _ in range(int(LONGEST_S)):
            self.world.now += 1
            self.world.do(ev.Tick(self.world.now))
        assert self.world.ended
        assert self.world.do(ev.SpeechStarted(self.world.now)) == []
        assert self.world.do(ev.KeyPressed(self.world.now, "1")) == []


COMMON = ("model_does_what_is_asked",) * 8 + ("caller_takes_a_turn",) * 4 + ("all_is_played",) * 2
SELDOM = (
    "time_passes",
    "caller_speaks",
    "caller_ends_the_turn",
    "caller_keys",
    "words_come",
    "response_begins",
    "model_judges",
    "model_speaks",
    "response_ends",
)


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=True))
def test_the_script_holds_whatever_happens(chance: Random) -> None:
    telephone = Telephone(chance)
    for _ in range(80):
        getattr(telephone, chance.choice(COMMON + SELDOM))()
        telephone.check()
    telephone.only_time_is_left()
