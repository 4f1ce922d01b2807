"""What a model stand-in can be told to do wrong, and how fast it does what it does right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rehearsal.model.session import ModelSession

NEVER = float("inf")
GARBAGE = {
    "text": "this is no JSON",
    "unknown": '{"type":"response.telepathy.delta","event_id":"event_x","delta":"?"}',
    "no_type": '{"event_id":"event_x"}',
    "list": "[1,2,3]",
    "truncated": '{"type":"response.output_audio.delta","event_id":"event_x","delta":"AAAA',
    "huge": '{"type":"response.telepathy.delta","event_id":"event_x","delta":"' + "x" * 20_000_000 + '"}',
    "empty": "",
}


@dataclass(frozen=True)
class After:
    """When the `count`th event of this type has been sent or received, do something to the session.

    `act` is a function of the session, or the name of one of its methods: drop, reset, close, stall, vanish, expire,
    garbage.
    """

    event_type: str
    act: "str | Callable[[ModelSession], object]"
    count: int = 1

    def do(self, session: "ModelSession") -> None:
        """Do it."""
        if isinstance(self.act, str):
            getattr(session, self.act)()
        else:
            self.act(session)


@dataclass(frozen=True)
class Faults:
    """One session's faults; the default has none. Times in seconds, `NEVER` for never."""

    refuse_status: int | None = None  # answer the upgrade with 401, 403, 429, 503, ...
    upgrade_after_s: float = 0  # accept TCP at once, answer the upgrade so much later
    no_session_created: bool = False
    no_session_updated: bool = False
    refuse_update_code: str | None = None  # answer session.update with this error
    created_after_s: float = 0  # from response.create to response.created
    done_after_call_s: float = 0  # from a function call's last event to response.done
    late_deltas: int = 0  # audio deltas still sent after the response was cut, as those that were under way
    transcription_fails: bool = False
    tells_no_usage: bool = False  # `usage` null in response.done, and a transcript's in tokens instead of seconds
    answers_close: bool = True
    after: tuple[After, ...] = ()


@dataclass(frozen=True)
class Tuning:
    """How fast the model is."""

    delta_ms: int = 200  # audio in one delta
    speed: float = 8.0  # times real time; real sessions are several times faster than the caller can listen
    transcript_after_s: float = 0.2  # from the commit of a turn to its transcript
    lifetime_s: float = 3600  # what `expires_at` promises; the stand-in expires only on demand
