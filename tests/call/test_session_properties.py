"""A session's rules, for arbitrary orders of events: also orders that no honest model or line would send."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kav.call import actions as act
from kav.call import events as ev
from kav.call.deadlines import CallRules
from kav.call.session import CallSession
from tests.call.world import World, talk_without_steps

ITEMS = st.sampled_from(["i1", "i2", "i3"])
RESPONSES = st.sampled_from(["resp1", "resp2", "resp3", "stranger"])


class Obedient(World):
    """A model that does what it is asked, at a moment that chance decides, and a caller who does what he likes."""

    def step(self, what: str, item: str, number: int) -> None:
        if what == "wait":
            self.now += number / 1000
            self.do(ev.Tick(self.now))
        elif what == "speech":
            self.speech()
        elif what == "typed":
            self.typed(item)
        elif what == "commit" and self.session.listening:
            self.commit()
        elif what == "marks":
            self.marks_return()
        elif self.active is None:
            if what == "created" and self.requested is not None:
                self.created()
        else:
            self.in_response(what, f"{self.active}-{item}", number)

    def in_response(self, what: str, item: str, number: int) -> None:
        response = self.active or ""
        if what == "added":
            self.added(item)
        elif what == "audio":
            self.audio(item, number)
        elif what == "item_done":
            self.do(ev.ItemAudioDone(self.now, response, item))
        elif what == "tool":
            self.do(ev.ToolCalled(self.now, response, item, f"{response}-call", "current_time", "{}"))
            self.do(ev.ToolFinished(self.now, f"{response}-call", "now"))
        elif what == "done":
            self.finish("cancelled" if number % 2 else "completed")


STEPS = st.tuples(
    st.sampled_from(
        ["wait", "speech", "typed", "commit", "marks", "created", "added", "audio", "item_done", "tool", "done"]
    ),
    ITEMS,
    st.integers(1, 3000),
)


@given(st.lists(STEPS, max_size=80))
def test_one_create_at_a_time_and_nothing_after_the_end(steps: list[tuple[str, str, int]]) -> None:
    """World.take asserts: one create, none while listening, none before done, truncation within what was received."""
    world = Obedient().started()
    for what, item, number in steps:
        world.step(what, item, number)


@given(st.lists(STEPS, max_size=80))
def test_no_audio_is_forwarded_while_the_caller_speaks(steps: list[tuple[str, str, int]]) -> None:
    world = Obedient().started()
    for what, item, number in steps:
        before = len(world.done)
        listening = world.session.listening
        world.step(what, item, number)
        if listening and what != "commit":
            assert not any(isinstance(action, act.PlayAudio) for action in world.done[before:])


@given(st.lists(STEPS, max_size=60))
def test_every_turn_gets_a_reply_or_the_call_ends(steps: list[tuple[str, str, int]]) -> None:
    world = Obedient().started()
    for what, item, number in steps:
        world.step(what, item, number)
    before = len(world.of(act.RequestResponse))
    world.speech()
    world.commit()
    for _ in range(3):  # the model finishes what is under way, then what was waiting for that
        if world.requested is not None:
            world.created()
        if world.active is not None:
            world.audio("last", 10)
            world.finish()
    asked = [action for action in world.of(act.RequestResponse)[before:] if isinstance(action, act.RequestResponse)]
    assert world.ended or [action.kind for action in asked].count("answer") == 1


@st.composite
def any_event(draw: st.DrawFn) -> ev.Event:
    at = draw(st.floats(0, 2000))
    item, response = draw(ITEMS), draw(RESPONSES)
    events: st.SearchStrategy[ev.Event] = st.sampled_from(
        [
            ev.StreamStarted(at, draw(st.sampled_from(["inbound", "outbound"]))),
            ev.ModelReady(at),
            ev.SpeechStarted(at),
            ev.TurnCommitted(at, item),
            ev.CallerTyped(at, item, "line"),
            ev.ResponseCreated(at, response, draw(st.sampled_from([None, "kav1", "kav2", "kav9"]))),
            ev.ItemAdded(at, response, item, draw(st.booleans())),
            ev.AudioDelta(at, response, item, b'""', draw(st.integers(0, 20000))),
            ev.ItemAudioDone(at, response, item),
            ev.ToolCalled(at, response, item, draw(st.sampled_from(["c1", "c2"])), "tool", "{}"),
            ev.ToolFinished(at, draw(st.sampled_from(["c1", "c2"])), "out"),
            ev.ResponseDone(at, response, draw(st.sampled_from(["completed", "cancelled", "incomplete", "failed"]))),
            ev.RequestRefused(at, draw(st.sampled_from(["x", "conversation_already_has_active_response"])), None),
            ev.MarkEchoed(at, draw(st.sampled_from(["g0:1", "g1:2", "x"]))),
            ev.HubLate(at, draw(st.floats(0, 20))),
            ev.Tick(at),
        ]
    )
    return draw(events)


@settings(max_examples=300)
@given(st.lists(any_event(), max_size=60))
def test_hostile_orders_break_no_rule(hostile: list[ev.Event]) -> None:
    """Direction never changes, time that runs backwards breaks nothing, and the end stays the end."""
    session = CallSession(CallRules(max_call_s=900, reply_timeout_s=8), talk_without_steps())
    direction, ended, received = None, False, dict[str, int]()
    for event in hostile:
        if isinstance(event, ev.AudioDelta):
            received[event.item_id] = received.get(event.item_id, 0) + event.length
        actions = session.handle(event)
        assert not (ended and actions)
        assert direction in (None, session.direction)
        direction = session.direction
        for action in actions:
            ended = ended or isinstance(action, act.EndCall)
            if isinstance(action, act.TruncateItem):
                assert action.audio_end_ms * 8 <= received[action.item_id]


@given(st.lists(any_event(), max_size=40))
def test_every_call_ends(hostile: list[ev.Event]) -> None:
    """Whatever has happened: time alone ends the call."""
    session = CallSession(CallRules(max_call_s=900, reply_timeout_s=8), talk_without_steps())
    session.handle(ev.StreamStarted(0.0))
    for event in hostile:
        session.handle(event)
    session.handle(ev.Tick(5000.0))
    assert session.over
