"""What the model stand-in knows of a scenario: what the caller has just said, and what to answer."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from rehearsal import speech
from rehearsal.expectation import matches
from rehearsal.model import CallTool, ModelSession, Reply, ReplyRequest, Say, WriteText
from rehearsal.model.conversation import Item
from rehearsal.model.script import Part
from rehearsal.scenario import Judgement, ModelReply, Reworded, Scenario, Step

Speak = Callable[[str, str], bytes]

_ALPHABETS = {"\u0590": "he", "\u0600": "ar", "\u0400": "ru"}  # by the block in which a letter stands
_OTHERWISE = {"he": "בסדר.", "ar": "حسنا.", "ru": "Хорошо.", "en": "All right."}
"""Said where the scenario has no reply, so that the call goes on; it is a mistake of the scenario or of Kav."""


class Voices:
    """The voices of all scenarios: what stands in them with vowel points is pronounced by those."""

    def __init__(self, scenarios: Iterable[Scenario] = ()) -> None:
        scenarios = list(scenarios)
        lines = [line for scenario in scenarios for line in scenario.lines()]
        self._pointed = {(text, language): pointed for text, language, pointed in lines if pointed}
        self._expected = [(text, language) for text, language, _pointed in lines]
        self._expected += [(text, alphabet(text)) for scenario in scenarios for text in scenario.phrases()]
        self._spoken: dict[tuple[str, str], bytes] = {}
        self._speaking = Lock()

    def speak(self, text: str, language: str) -> bytes:
        """`text` spoken, mu-law at 8 kHz, to the byte the same each time. Raises `speech.SpeechError`."""
        line = (text, language)
        if line not in self._spoken:
            with self._speaking:  # the voice never says a line twice alike, and calls that are played at once share it
                self._spoken[line] = speech.speak(text, language, self._pointed.get(line))
        return self._spoken[line]

    def warm_up(self) -> None:
        """Speak every line once, so that no call waits for its voice."""
        for text, language in self._expected:
            self.speak(text, language)


@dataclass(frozen=True)
class BotLine:
    """Something that the model said, with the place where its session keeps it."""

    text: str
    language: str
    session: ModelSession
    response_id: str
    speak: Speak

    @cached_property
    def audio(self) -> bytes:
        """The whole of it, mu-law."""
        return self.speak(self.text, self.language)

    @property
    def item(self) -> Item | None:
        """Its place in the conversation, deleted or not; None if the response never came so far."""
        conversation = self.session.conversation
        items = (*conversation.items, *conversation.deleted)
        return next((item for item in items if item.response_id == self.response_id and item.has_audio), None)

    @property
    def is_shortened(self) -> bool:
        """Whether the model was told that less than all was heard."""
        item = self.item
        return item is not None and (item.truncated_at is not None or item in self.session.conversation.deleted)

    @property
    def remembered_ms(self) -> float:
        """How much of its sound the model believes to have been heard."""
        item = self.item
        return item.audio_ms if item is not None and item not in self.session.conversation.deleted else 0.0


class Prompter:
    """The `Script` of one call: speaks the phrases that Kav asks for, and answers the caller as the scenario has it."""

    def __init__(self, language: str, speak: Speak, rewords: Iterable[Reworded] = ()) -> None:
        self.lines: list[BotLine] = []
        """All that the model has said or been about to say, oldest first."""
        self.unwritten = 0
        """Replies that were asked for and that the scenario does not have."""
        self._language, self._speak = language, speak
        self._rewords = list(rewords)
        self._said = ""
        self._line_language = language
        self._judgements: deque[Judgement] = deque()
        self._refuses_to_judge = False
        self._replies: deque[ModelReply] = deque()

    def caller_says(self, step: Step) -> None:
        """The caller begins a line: its turn, when the model's ears have found its end, has these replies."""
        self._said = step.says or ""
        self._line_language = step.language or self._language
        self._refuses_to_judge = step.judge == ()
        self._judgements = deque(step.judge or ())
        self._replies = deque(step.replies)

    def caller_presses(self, step: Step) -> None:
        """The caller presses keys, which Kav understands by itself: what it then has said is in these replies."""
        self._replies = deque(step.replies)

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - a call has one caller, whatever the session
        """The caller's latest line; nothing for a second turn that a pause has made of it."""
        said, self._said = self._said, ""
        return said

    def reply(self, request: ReplyRequest) -> Reply:
        """The phrase that Kav quotes; a judgement; the next reply to the caller's line, else the words it was given."""
        if request.phrase is not None:
            return Reply([self._given(request, request.phrase)])
        if request.tool_choice == "required":
            return self._judgement()
        if self._replies:
            written = self._replies.popleft()
            return Reply([self._part(request, written)], first_after_s=written.after_s)
        return Reply([self._obedient(request)])

    def _judgement(self) -> Reply:
        """How the model judges the turn, when it is asked to; a turn nobody wrote of is unclear to it."""
        if self._refuses_to_judge:
            return Reply([WriteText("...")])
        if not self._judgements:
            self.unwritten += 1
            return Reply([CallTool("unclear", {"language": self._line_language})])
        judgement = self._judgements.popleft()
        calls = [judgement, *([judgement.also] if judgement.also is not None else [])]
        return Reply(
            [CallTool(call.tool, call.told(self._line_language), call.call_id) for call in calls],
            first_after_s=judgement.after_s,
        )

    def _obedient(self, request: ReplyRequest) -> Say:
        """What Kav has just told the model to say; without such words there is nothing that it could say."""
        told = request.told
        if told:
            return self._given(request, told)
        self.unwritten += 1
        return self._say(request, _OTHERWISE.get(self._language, _OTHERWISE["en"]), self._language)

    def _given(self, request: ReplyRequest, words: str) -> Say:
        """Words that Kav gave, or what the model makes of them."""
        reworded = next((one for one in self._rewords if matches(words, one.given)), None)
        if reworded is None:
            return self._say(request, words, alphabet(words))
        self._rewords.remove(reworded)
        return self._say(request, reworded.say, reworded.language or self._language)

    def _part(self, request: ReplyRequest, written: ModelReply) -> Part:
        if written.say is not None:
            return self._say(request, written.say, written.language or self._line_language)
        if written.write is not None:
            return WriteText(written.write)
        return CallTool(written.tool or "", written.arguments)

    def _say(self, request: ReplyRequest, text: str, language: str) -> Say:
        session = request.session
        response_id = session.active.id if session.active is not None else ""
        self.lines.append(BotLine(text, language, session, response_id, self._speak))
        return Say(text, language)


def alphabet(text: str) -> str:
    """The language that a text's first letter belongs to: Kav's own phrases come without saying."""
    letter = next((letter for letter in text if letter.isalpha()), "a")
    begun = [first for first in _ALPHABETS if first <= letter < chr(ord(first) + 0x100)]
    return _ALPHABETS[max(begun)] if begun else "en"
