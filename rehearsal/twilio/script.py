"""What a rehearsal may arrange about a call before it begins: the line, the callbacks, the people at its ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """The media socket and the network under it.

    `delay_s` is one way, and applies both ways. `connect_after_s` waits before the upgrade, `start_after_s` between
    the 101 and `connected`. `parameters`, `start` and `signature` replace what Twilio would send: custom parameters,
    fields of `start`, the upgrade's signature ("" sends none). `receive_buffer_bytes` makes a slow reader felt.
    """

    delay_s: float = 0.0
    connect_after_s: float = 0.0
    start_after_s: float = 0.0
    receive_buffer_bytes: int | None = None
    answers_close: bool = True
    parameters: Mapping[str, str] | None = None
    start: Mapping[str, object] = field(default_factory=dict)
    signature: str | None = None


@dataclass(frozen=True)
class Callbacks:
    """How the call's status callbacks arrive.

    `delay_s` holds each back, `copies` sends each so often, `missing` sends none. `early` delivers the terminal one,
    and has its answer, before the stream hears of the end. `reversed` keeps all until the end and sends the last first.
    `form` adds or overrides fields.
    """

    delay_s: float = 0.0
    copies: int = 1
    missing: bool = False
    early: bool = False
    reversed: bool = False
    form: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Human:
    """The person that `<Dial>` reaches: "answered", "busy", "no-answer" or "failed", after ringing for `rings_s`.

    One who answers talks for `talks_s`; None is until somebody hangs up or the time limit is reached.
    """

    outcome: str = "answered"
    rings_s: float = 0.05
    talks_s: float | None = None


@dataclass(frozen=True)
class Callee:
    """The person whom an outbound call rings: the same outcomes; `answered_by` is what machine detection finds."""

    outcome: str = "answered"
    rings_s: float = 0.05
    answered_by: str = "human"
    detected_after_s: float = 0.2


@dataclass(frozen=True)
class CallScript:
    """Everything about one call. `form` adds or overrides fields of every webhook request of the call.

    `say_s_a_character` is how long `<Say>` takes where the stand-in was given no voice; `play_s` any `<Play>`.
    `action_after_hang_up` asks `<Connect action>` even when the caller has hung up (whether Twilio does is unverified).
    Without `asks_after_stream` a call whose stream is over stays up and asks nothing, as if its request had been lost.
    """

    line: Line = Line()
    callbacks: Callbacks = Callbacks()
    human: Human = Human()
    callee: Callee = Callee()
    form: Mapping[str, str] = field(default_factory=dict)
    say_s_a_character: float = 0.06
    play_s: float = 0.5
    action_after_hang_up: bool = False
    asks_after_stream: bool = True
