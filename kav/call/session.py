"""One stream of a call, decided: events in, actions out, in the order of the wire.

Holds no socket, no clock and no words. Its parts: `Playhead` knows what the caller has heard, `Replies` what the bot
owes and has asked for; in here is what needs both, above all silence.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kav.call import events
from kav.call.actions import (
    Action,
    AddCallerText,
    ClearPlayback,
    DeleteItem,
    EndCall,
    PlayAudio,
    ProbeModel,
    ReconnectModel,
    RequestResponse,
    SendMark,
    SendToolOutput,
    TruncateItem,
)
from kav.call.audit import Breach
from kav.call.conversation import Conversation
from kav.call.deadlines import CallRules, Deadlines
from kav.call.keypad import Keypad
from kav.call.playhead import Playhead
from kav.call.replies import GIVE_UP, Replies, Reply, Response
from kav.call.silence import SilenceClock

MAX_TYPED_EARLY: Final = 8
"""Lines that are kept for a model that is not there yet."""


class CallSession:
    """Decides for one stream. Every method is free of I/O, so that a transition is atomic between greenlets."""

    def __init__(self, rules: CallRules, conversation: Conversation) -> None:
        self.playhead = Playhead()
        self._unknown_items = frozenset[str]()
        """Items of a lost connection that still play: the model of today has never heard of them."""
        self._lost: list[Reply] | None = None
        """What was still to be said when the model was lost; None: nothing."""
        self._opening_phrase = rules.opening
        self._recorded = rules.recorded
        self._talk = conversation
        self._deadlines = Deadlines(rules.max_call_s, rules.reply_timeout_s, rules.reconnects)
        self._silence_clock = SilenceClock(rules.silence_ask_s, rules.silence_close_s)
        self._last_words = ""
        """What the bot said last, as far as it has said it."""
        self._last_reply: Reply | None = None
        """The reply that sounded last."""
        self._keypad = Keypad()
        self._keyed_for = ("", "")
        """The question that was open when the caller began to key."""
        self._replies = Replies(rules.reply_timeout_s, (tool.name for tool in conversation.flow.tools))
        self._direction: events.Direction | None = None
        self.listening = False
        """Whether the caller is speaking, so that nothing may be said or asked for."""
        self._typed_early: list[events.CallerTyped] = []
        """Lines that were typed before the model was there."""
        self.over = False
        """The end was decided: no event has an effect any more."""
        self._handlers: dict[type, Callable[..., list[Action]]] = {
            events.StreamStarted: self._stream_started,
            events.ModelReady: self._model_ready,
            events.SpeechStarted: self._speech_started,
            events.TurnCommitted: self._turn_committed,
            events.ResponseCreated: self._replies.created,
            events.ItemAdded: self._replies.item_added,
            events.AudioDelta: self._audio_delta,
            events.ItemAudioDone: self._item_audio_done,
            events.ToolCalled: self._tool_called,
            events.ToolFinished: self._tool_finished,
            events.ResponseDone: self._response_done,
            events.RequestRefused: self._replies.refused,
            events.ModelLost: lambda _: [GIVE_UP],
            events.BotWords: self._bot_words,
            events.CallerWords: self._caller_words,
            events.CallerTyped: self._caller_typed,
            events.KeyPressed: self._key_pressed,
            events.MarkEchoed: self._mark_echoed,
            events.HubLate: self._hub_late,
            events.Shutdown: self._shut_down,
            events.Tick: self._tick,
            events.Ended: self._ended,
        }

    @property
    def direction(self) -> events.Direction | None:
        """Inbound or outbound, as the stream's start said; None before it."""
        return self._direction

    def handle(self, event: events.Event) -> list[Action]:
        """Take one event; return what to do, in order. After the end: nothing."""
        if self.over:
            return []
        self._talk.chronicle.now = event.at
        actions = self._handlers[type(event)](event)
        if GIVE_UP in actions:
            actions = self._without_model(event.at, actions)
        for action in actions:
            if isinstance(action, EndCall):
                self._close(event.at)
            elif isinstance(action, RequestResponse) and action.kind == "phrase":
                self._deadlines.probe_key = action.key
        return actions

    def model_seen(self, at: float) -> None:
        """Note that the model said something at `at`, whatever it was."""
        self._deadlines.model_seen(at)

    # The two beginnings, and the end

    def _stream_started(self, event: events.StreamStarted) -> list[Action]:
        if self._deadlines.started_at is not None:
            return []
        self._deadlines.started_at, self._direction = event.at, event.direction
        self._talk.begin_stream()
        return self._open(event.at)

    def _model_ready(self, event: events.ModelReady) -> list[Action]:
        if self._deadlines.model_seen_at is not None:
            return []
        self._deadlines.model_seen_at = event.at
        early, self._typed_early = self._typed_early, []
        actions = self._open(event.at)
        return [*actions, *(action for line in early for action in self._caller_typed(replace(line, at=event.at)))]

    def _open(self, at: float) -> list[Action]:
        """Greet, once both the caller and the model are there."""
        if not self._deadlines.both_there:
            return []
        self._hold()
        opening, lost = self._opening_phrase, self._lost
        self._opening_phrase, self._lost = "", None
        if opening:
            return self._say(at, self._talk.opening(opening))
        if lost is None:
            return []
        unheard = self.playhead.generation == self.playhead.sent == 0
        reopening = self._talk.reopening(lost, unheard=unheard, answer_waits=self._replies.unsaid)
        return self._replies.owe(at, reopening, first=True)

    def _without_model(self, at: float, give_up: list[Action]) -> list[Action]:
        """The model is lost, and the call is not: another connection goes on from the same step, if one may be made.

        What was on its way to the caller plays on; whatever was still to be said gives way to a short apology and the
        active question, but for words after which the call ends or changes hands: those are said again, and where they
        were said already no model is needed any more.
        """
        if self._replies.idle and self._talk.leaving:
            return []
        if not self._deadlines.reconnect(at):
            return give_up
        waiting, last = self.listening or not self._replies.idle, self._marked(self.playhead.complete())
        self._leave_response()
        pending = self._replies.reset()
        if any(reply.phrase == "limit_notice" for reply in pending):
            self._deadlines.notice_was_cut()
        self.listening, self._unknown_items = False, self.playhead.item_ids
        self._lost = pending if waiting else None
        return [*last, ReconnectModel()]

    def _shut_down(self, event: events.Shutdown) -> list[Action]:
        """The process stops: an apology is said last, unless the call is just ending by itself."""
        self._deadlines.reconnects = 0
        if not self._deadlines.both_there:
            return [EndCall("shutdown", apologise=True)]
        apology = self._talk.shut_down(self._replies.saying)
        if apology is None:
            return []
        self._replies.drop()
        return [*self._silence(event.at), *self._replies.owe(event.at, apology)]

    def _ended(self, event: events.Ended) -> list[Action]:
        self._close(event.at)
        return []

    def _close(self, at: float) -> None:
        """Nothing follows: what is not heard by now never will be."""
        self.over = True
        self._leave_response()
        self._talk.chronicle.interrupted(
            self.playhead.interrupt(at, response_active=self._replies.response is not None)
        )
        self._talk.chronicle.leave_tools()

    def _leave_response(self) -> None:
        """Nobody will tell what a response took that is left in the middle."""
        if self._replies.response is not None and self._replies.response.response_id is not None:
            self._talk.chronicle.used(None)

    def _hold(self) -> None:
        """Nothing may be asked for while the caller speaks or keys, or while one of the two is not there yet."""
        self._replies.held = self.listening or self._keypad.pending or not self._deadlines.both_there

    # The caller

    def _speech_started(self, event: events.SpeechStarted) -> list[Action]:
        self.listening = self._replies.held = True
        self._talk.chronicle.speech_began(over_bot=not self.playhead.quiet)
        return self._give_the_floor(event.at)

    def _give_the_floor(self, at: float, *, spare_judge: bool = False, reads: bool = False) -> list[Action]:
        """The caller speaks, or keys: the bot is silent, and what it was still to say is overtaken.

        `reads`: they type, before a page that shows all that the bot says as soon as it is known.
        """
        self._silence_clock.reset()
        self._say_limit_again(at)
        unsaid = self._replies.unsaid
        self._replies.forget()
        self._note_what_was_heard(at, unsaid=unsaid, reads=reads)
        goodbye_stands = self._talk.caller_speaks()
        silence = self._silence(at, spare_judge=spare_judge)
        return [*silence, *([EndCall(self._talk.farewell.reason)] if goodbye_stands else [])]

    def _say_limit_again(self, at: float) -> None:
        """A notice of the limit that was cut off was not given."""
        response = self._replies.response
        coming = response is not None and not response.dead and response.reply.phrase == "limit_notice"
        sounding = self._last_reply is not None and self._last_reply.phrase == "limit_notice"
        if coming or (sounding and not self.playhead.quiet_by(at)):
            self._deadlines.notice_was_cut()

    def _note_what_was_heard(self, at: float, *, unsaid: bool, reads: bool) -> None:
        """Was the question asked before the caller spoke?"""
        response = self._replies.response
        ruled = response is not None and (response.reply.kind != "judge" or response.called_tools)
        sounding = self._last_reply if not self.playhead.quiet else None
        reply = response.reply if response is not None and not response.dead else sounding
        if unsaid or (response is not None and not response.dead and not response.spoke and ruled):
            self._talk.interrupted("", 0.0, reply=reply)
        elif self.playhead.quiet:
            self._talk.heard()
        else:
            whole = response is None or response.dead
            share = 1.0 if reads else self.playhead.share_heard(at)
            self._talk.interrupted(self._last_words, share, whole=whole, reply=reply)

    def _silence(self, at: float, *, spare_judge: bool = False) -> list[Action]:
        """Whatever the bot is saying, or about to say, is not said; the model remembers what was heard."""
        response = self._replies.response
        active = response is not None and not response.dead
        unheard = response.unheard if response is not None and active else []
        cut = self.playhead.interrupt(at, response_active=active)
        self._talk.chronicle.interrupted(cut)
        actions: list[Action] = [ClearPlayback(self.playhead.generation)] if cut.clear else []
        spared = spare_judge and response is not None and response.reply.kind == "judge"
        actions += [] if spared else self._replies.silence(at)
        if cut.truncate is not None and cut.truncate[0] not in self._unknown_items:
            actions.append(TruncateItem(*cut.truncate))
        return [*actions, *(DeleteItem(i) for i in (*cut.delete, *unheard) if i not in self._unknown_items)]

    def _turn_committed(self, event: events.TurnCommitted) -> list[Action]:
        self.listening = False
        self._hold()
        return self._replies.owe(event.at, self._talk.turn(event.item_id))

    def _key_pressed(self, event: events.KeyPressed) -> list[Action]:
        """A key silences the bot as a word does; the entry that it completes is ruled on without the model."""
        self._silence_clock.reset()
        if not self._deadlines.both_there:  # nothing was asked yet, or it is about to be asked anew
            return []
        goes_on = self._keypad.pending
        entry = self._keypad.press(event.at, event.digit, self._talk.lock.keys_wanted())
        if entry is None and not self._keypad.pending:
            return []
        actions = self._give_the_floor(event.at, spare_judge=True) if not goes_on else []
        self._keyed_for = self._keyed_for if goes_on else self._talk.open_question
        self._hold()
        return actions if EndCall in map(type, actions) or entry is None else [*actions, *self._keyed(event.at, entry)]

    def _keyed(self, at: float, entry: str) -> list[Action]:
        """An entry is complete: it answers the question it was begun for, unless the model's judgement came before."""
        self._hold()
        if self._talk.open_question != self._keyed_for:
            return self._replies.ask(at)
        self._talk.chronicle.keyed(entry, self._keyed_for[0])
        self._replies.forget()
        judged, reply = self._replies.judging, self._talk.keyed(entry)
        actions, reply = self._replies.silence(at), self._talk.judge_again() if judged else reply
        spoken_to = self.listening or self._replies.turn_waits  # what was said besides is judged, and gets the reply
        if judged or spoken_to:
            self._talk.unsaid()
        return [*actions, *(self._replies.ask(at) if spoken_to else self._say(at, reply))]

    def _caller_words(self, event: events.CallerWords) -> list[Action]:
        self._talk.chronicle.caller_words(event.item_id, event.text, event.seconds)
        self._talk.transcribed(event.item_id, event.text)
        if self._talk.flow.steps or not self._recorded:
            return []
        saying = self._replies.saying  # without a script, only now the caller's language is known
        told = self._talk.of_recording(saying)
        again = told is None or (saying is not None and saying.phrase == told.phrase)
        return [] if told is None or again else self._replies.owe(event.at, told)

    def _caller_typed(self, event: events.CallerTyped) -> list[Action]:
        """A typed line is a turn that begins and ends in one moment: the bot is silent, and owes an answer."""
        if self._deadlines.model_seen_at is None:
            self._typed_early = [*self._typed_early, event][:MAX_TYPED_EARLY]
            return []
        actions = self._give_the_floor(event.at, reads=True)
        if EndCall in map(type, actions):
            return actions
        self._hold()
        reply = self._talk.turn(event.item_id)
        self._caller_words(events.CallerWords(event.at, event.item_id, event.text, 0.0))
        return [*actions, AddCallerText(event.item_id, event.text), *self._replies.owe(event.at, reply)]

    # The bot

    def _say(self, at: float, reply: Reply) -> list[Action]:
        """Owe what the script says, and before it what is still to be told of a recording."""
        told = self._talk.of_recording(reply) if self._recorded else None
        before = self._replies.owe(at, told, first=True) if told is not None else []
        return [*before, *self._replies.owe(at, reply)]

    def _bot_words(self, event: events.BotWords) -> list[Action]:
        response = self._replies.live(event.response_id, event.at)
        if response is not None:
            said = response.words.get(event.item_id, "")
            response.words[event.item_id] = event.text if event.whole else said + event.text
            self._last_words = response.transcript
            self._talk.words_said(response.reply, event.response_id, response.transcript)
        return []

    def _audio_delta(self, event: events.AudioDelta) -> list[Action]:
        response = self._replies.live(event.response_id, event.at)
        if response is None:
            return []
        begins, response.spoke, self._last_reply = not response.spoke, True, response.reply
        self._talk.sounds(response.reply, event.response_id, event.item_id, event.length)
        if begins:
            self._talk.words_said(response.reply, event.response_id, response.transcript)
        if event.item_id in response.unheard:
            response.unheard.remove(event.item_id)
        mark = self.playhead.send(event.at, event.item_id, event.length)
        return [PlayAudio(event.payload, self.playhead.generation), *self._marked(mark)]

    def _item_audio_done(self, event: events.ItemAudioDone) -> list[Action]:
        response = self._replies.live(event.response_id, event.at)
        return self._marked(self.playhead.complete()) if response is not None else []

    def _response_done(self, event: events.ResponseDone) -> list[Action]:
        if event.usage is not None or event.status != "failed":
            self._talk.chronicle.used(event.usage)
        response = self._replies.live(event.response_id, event.at)
        if response is None:
            return self._replies.done(event)
        last = self._marked(self.playhead.complete())
        self._talk.chronicle.spoken(event.response_id)
        follow_up = self._follow_up(response, event)
        actions = [*last, *self._replies.done(event)]
        return [*actions, *self._replies.owe(event.at, follow_up)] if follow_up is not None else actions

    def _follow_up(self, response: Response, event: events.ResponseDone) -> Reply | None:
        """Return what the script owes after a response that was not cut off."""
        if event.status != "completed":
            return None
        if response.reply.kind != "judge":
            goes_on = response.called_tools  # what was said before the call is not all of it
            return self._talk.said(response.reply, response.transcript) if response.spoke and not goes_on else None
        if response.called_tools or response.reply.attempts == 0:
            return None
        response.called_tools = True  # asked twice, and it did not judge: nothing more is expected of it
        return self._talk.unjudged()

    def _marked(self, name: str | None) -> list[Action]:
        return [SendMark(name, self.playhead.generation)] if name is not None else []

    def _tool_called(self, event: events.ToolCalled) -> list[Action]:
        response = self._replies.live(event.response_id, event.at)
        if response is None or response.reply.kind != "judge":
            actions = self._replies.tool_called(event)
            self._talk.tool_called(event, actions)
            return actions
        if not self._replies.is_new(event.call_id):
            self._talk.note(Breach("call id used twice", event.name))
            return []
        if response.called_tools:
            self._talk.note(Breach("judged twice", event.name))
            return [SendToolOutput(event.call_id, "ignored: one call for each turn")]
        response.called_tools = True
        reply = self._talk.judged(event.name, event.arguments, response.asked_at, event.call_id)
        return [SendToolOutput(event.call_id, "noted"), *self._say(event.at, reply)]

    def _tool_finished(self, event: events.ToolFinished) -> list[Action]:
        actions = self._replies.tool_finished(event.at, event.call_id, event.output)
        self._talk.tools_back(actions, ok=event.ok)
        return actions

    # Time

    def _mark_echoed(self, event: events.MarkEchoed) -> list[Action]:
        hearing = self.playhead.hearing
        if self.playhead.acknowledge(event.at, event.name):
            self._talk.chronicle.marked(hearing)
        return self._last_words_heard(event.at)

    def _last_words_heard(self, at: float) -> list[Action]:
        """A closing, or the word that a human takes over, ends the stream when it was said to its end, and heard."""
        if not self._replies.idle or not self.playhead.quiet_by(at):
            return []
        if self._talk.farewell.said:
            return [EndCall(self._talk.farewell.reason)]
        return [EndCall("transferred")] if self._talk.hand_over() else []

    def _hub_late(self, event: events.HubLate) -> list[Action]:
        """Time in which the process stood still is not time that the model was quiet in."""
        self._replies.forgive(event.by_s)
        self._deadlines.forgive(event.by_s)
        return []

    def _tick(self, event: events.Tick) -> list[Action]:
        if self._deadlines.started_at is None:
            return []
        if self._deadlines.limit_reached(event.at):
            return [EndCall("max_duration")]
        if ending := self._last_words_heard(event.at):
            return ending
        if self._replies.stalled(event.at) or self._deadlines.model_silent(event.at):
            return [GIVE_UP]
        entry = self._keypad.tick(event.at)
        if entry is not None:
            return self._keyed(event.at, entry)
        lost = self._replies.give_up_tools(event.at)
        self._talk.tools_back(lost, ok=False)
        told = self._talk.leaving or not self._deadlines.notice_due(event.at)
        notice = self._talk.notice_limit() if not told else None
        actions = self._replies.owe(event.at, notice) if notice is not None else self._replies.ask(event.at)
        due = self._deadlines.probe_due(event.at) if self._replies.response is None else None
        probe = [ProbeModel(due)] if due is not None else []
        return [*lost, *actions, *self._listen_for_silence(event.at), *probe]

    def _listen_for_silence(self, at: float) -> list[Action]:
        """Ask once whether the caller is there, then end a call that nobody is on."""
        idle = not (self.listening or self._keypad.pending) and self._replies.idle and self.playhead.quiet_by(at)
        due = self._silence_clock.tick(at, idle=idle and self._deadlines.both_there)
        if due == "close":
            return [EndCall("silence")]
        return self._replies.owe(at, self._talk.presence()) if due == "ask" else []
