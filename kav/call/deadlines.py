"""How long a call and its model may take: the hard limit and the word that announces it, and a model that is silent.

A model that hears nobody says nothing, so silence alone is no fault: one that has said nothing for half of its time is
asked something harmless, and only when that stays unanswered too is it given up.
"""

from dataclasses import dataclass
from typing import Final

LIMIT_NOTICE_S: Final = 60.0
"""How long before the hard limit the caller is told of it: enough for a last question."""

LIMIT_NOTICES: Final = 3
"""Times that the notice is begun: one that was cut off is said again, but not to the end of the call."""


@dataclass(frozen=True, slots=True)
class CallRules:
    """What a call may last, and how long the model may be quiet."""

    max_call_s: float
    reply_timeout_s: float
    opening: str = "greeting"
    """Id of the fixed phrase that opens the stream."""
    silence_ask_s: float = 4.0
    silence_close_s: float = 7.0
    reconnects: int = 0
    """How often a stream whose model is lost gets another connection to it."""
    recorded: bool = False
    """The call is being recorded, and whoever is on the line has to know."""


@dataclass(slots=True)
class Deadlines:
    """The clocks of one stream; all times are monotonic seconds."""

    max_call_s: float
    reply_timeout_s: float
    reconnects: int = 0
    started_at: float | None = None
    model_seen_at: float | None = None
    """When the model last said anything; None until it is ready."""
    probe_key: str | None = None
    """Key of a phrase that was asked for: its item is known to the model."""
    _awaited_since: float | None = None
    """When a connection that took another's place began to be waited for."""
    _probed: bool = False
    _notices: int = 0
    _noticed: bool = False

    @property
    def both_there(self) -> bool:
        """Whether both the caller and the model have come."""
        return self.started_at is not None and self.model_seen_at is not None

    def lasted_s(self, at: float) -> float:
        """Return how long the stream has lasted."""
        return at - self.started_at if self.started_at is not None else 0.0

    def model_seen(self, at: float) -> None:
        """The model said something, whatever it was."""
        if self.model_seen_at is not None:
            self.model_seen_at, self._probed = at, False

    def reconnect(self, at: float) -> bool:
        """The model is lost: return whether another connection may take its place; it is waited for from now on.

        One that never came gets no second chance here: the caller has heard nothing yet, and waited long enough.
        """
        if self.reconnects <= 0 or self.model_seen_at is None:
            return False
        self.reconnects -= 1
        self.model_seen_at, self.probe_key, self._probed, self._awaited_since = None, None, False, at
        return True

    def forgive(self, by_s: float) -> None:
        """The process stood still for `by_s` seconds, in which nobody was quiet."""
        if self.model_seen_at is not None:
            self.model_seen_at += by_s
        elif self.started_at is not None:
            since = self._awaited_since if self._awaited_since is not None else self.started_at
            self._awaited_since = since + by_s

    def limit_reached(self, at: float) -> bool:
        """Whether the call may not last any longer."""
        return self.lasted_s(at) >= self.max_call_s

    def notice_due(self, at: float) -> bool:
        """Whether the caller is to be told now that the call's time is nearly over; they are from now on."""
        notice_at_s = self.max_call_s - LIMIT_NOTICE_S
        if self._noticed or notice_at_s <= 0 or self.lasted_s(at) < notice_at_s:
            return False
        self._noticed, self._notices = True, self._notices + 1
        return True

    def notice_was_cut(self) -> None:
        """The caller spoke over the notice: it was not given."""
        self._noticed = self._notices >= LIMIT_NOTICES

    def model_silent(self, at: float) -> bool:
        """Whether the model never came, or does not even answer when it is asked whether it is there."""
        if self.model_seen_at is None:
            waited_s = self.lasted_s(at) if self._awaited_since is None else at - self._awaited_since
            return waited_s >= self.reply_timeout_s
        return self._probed and at - self.model_seen_at >= self.reply_timeout_s

    def probe_due(self, at: float) -> str | None:
        """Return the key to ask an idle model for, once it has been silent for half of its time; else None."""
        if self.model_seen_at is None or self._probed or self.probe_key is None:
            return None
        if at - self.model_seen_at < self.reply_timeout_s / 2:
            return None
        self._probed = True
        return self.probe_key
