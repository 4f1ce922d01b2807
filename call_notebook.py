"""Puts on record what a call's chronicle has that is new: once a second while it goes on, and once more at its end.

The chronicle is written by the session as things happen; here it meets the records, so that no decision waits for a
row and a turn whose words come bit by bit is stored a few times and not fifty. A row costs as much of the processor as
ten frames of sound, so what is merely going on (words that follow words, marks) is told every few seconds only.
"""

import json
import logging
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from kav.call.admission import Spending
from kav.call.chronicle import Chronicle, News, Turn
from kav.call.conversation import Conversation
from kav.call.events import Usage
from kav.cost import UNREPORTED, load_prices
from kav.records import Records
from kav.settings import Settings

TAKE_EVERY_S: Final = 1.0
"""How old a record of a call that goes on may be, but for words that merely go on: a killed process loses no more."""

LONGEST_DETAIL: Final = 100
"""Characters of a breach's detail in the log; the record keeps more."""

log = logging.getLogger(__name__)


class Notebook:
    """Writes the calls of one process down."""

    def __init__(self, settings: Settings, records: Records, spending: Spending) -> None:
        self._records, self._spending, self._zone = records, spending, ZoneInfo(settings.KAV_TIMEZONE)
        self._model, self._transcriber = settings.OPENAI_REALTIME_MODEL, settings.OPENAI_TRANSCRIBE_MODEL
        self._prices = load_prices()
        self._detail = LONGEST_DETAIL if settings.LOG_WORDS else 0
        spoken = {self._model, settings.OPENAI_FALLBACK_MODEL} - {""}
        for model in (*sorted(spoken), self._transcriber):
            if notice := self._prices.notice(model):
                log.warning(notice)

    def take(self, call_sid: str, stream_sid: str, talk: Conversation, *, last: bool = True) -> None:
        """Put on record what is new of a call; `last`: nobody will come for what waits."""
        news = talk.chronicle.news(whole=last)
        if news is None:
            return
        for turn in news.turns:
            self._save_turn(call_sid, stream_sid if talk.chronicle.is_of_this_stream(turn) else None, turn)
        self._save_findings(call_sid, talk, news)
        if news.usage is not None:
            self._save_usages(call_sid, talk.chronicle)
        language, flow_done = talk.language.current, talk.lock.completed
        if talk.chronicle.is_news(language, flow_done):
            self._records.save_call(call_sid, language=language, flow_done=flow_done)

    def _save_turn(self, call_sid: str, stream_sid: str | None, turn: Turn) -> None:
        by_bot = turn.who == "bot"
        self._records.save_turn(
            call_sid,
            turn.number,
            stream_sid=stream_sid,
            at_ms=turn.at_ms,
            who=turn.who,
            kind=turn.kind,
            phrase=turn.phrase,
            text=turn.text,
            heard=turn.heard if by_bot else None,
            audio_ms=turn.audio_ms,
            heard_ms=turn.heard_ms,
            language=turn.language,
            step=turn.step,
            latency_ms=turn.latency_ms,
            judge_ms=turn.judge_ms,
            marks=json.dumps(turn.marks, separators=(",", ":")) if turn.marks else None,
        )

    def _save_findings(self, call_sid: str, talk: Conversation, news: News) -> None:
        for position, answer in news.answers:
            self._records.save_answer(
                call_sid,
                answer.step,
                value=answer.value,
                unanswered=answer.unanswered or None,
                language=talk.language.current,
                at_ms=talk.chronicle.at_ms,
                position=position,
            )
        for number, at_ms, breach in news.breaches:
            log.warning("breach: %s %s", breach.what, breach.detail[: self._detail], extra={"call_sid": call_sid})
            self._records.save_breach(call_sid, number, at_ms=at_ms, what=breach.what, detail=breach.detail)
        for run in news.tools:
            self._records.save_tool_call(
                call_sid,
                run.call_id,
                name=run.name,
                arguments=run.arguments,
                output=run.output,
                at_ms=run.at_ms,
                duration_ms=run.duration_ms,
                ok=run.ok,
            )

    def _save_usages(self, call_sid: str, chronicle: Chronicle) -> None:
        paid = 0
        for model, used in chronicle.usages.items():
            paid += self._save_usage(call_sid, model or self._model, used)
        if chronicle.transcribed_s:
            cost = self._prices.audio_micro_usd(self._transcriber, chronicle.transcribed_s)
            self._records.save_usage(call_sid, self._transcriber, audio_s=chronicle.transcribed_s, cost_micro_usd=cost)
            paid += cost or 0
        if chronicle.unreported:
            self._records.save_usage(call_sid, UNREPORTED, responses=chronicle.unreported)
        self._spending.note(datetime.now(self._zone).date(), call_sid, paid)

    def _save_usage(self, call_sid: str, model: str, used: Usage) -> int:
        """Store what one model took; returns what that cost, as far as its price is known."""
        cost = self._prices.micro_usd(model, used)
        self._records.save_usage(
            call_sid,
            model,
            responses=used.responses,
            input_text=used.input_text,
            input_audio=used.input_audio,
            cached_text=used.cached_text,
            cached_audio=used.cached_audio,
            output_text=used.output_text,
            output_audio=used.output_audio,
            cost_micro_usd=cost,
        )
        return cost or 0
