"""What Kav measures of itself, as Prometheus reads it at `/metrics`.

Counters and histograms are kept here; recording one costs 1 to 4 µs and no I/O. On the media path not even that is
done: a stream notes plain numbers and they are observed when it is over, a call's turns when the call is over.
What changes by itself (live calls, waiting bytes) is read when somebody asks; see `Figures`.

Labels come from closed lists (end reasons, flow ids, tools of flow files), so that no caller can make new series.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from kav.call.chronicle import Chronicle

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
REGISTRY: Final = CollectorRegistry()

SHORT_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
"""What should take milliseconds."""

ANSWER_S: Final = (0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 10)
"""What a caller waits for."""

LINE_S: Final = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 120)

TESTS: Final = "browser"
"""In a flow's place: a call from the console's own page, which is no customer's; it has its cost all the same."""

OTHER_TOOL: Final = "other"
"""A tool that no flow file names: the model made it up."""


def _counter(name: str, what: str, *labels: str) -> Counter:
    return Counter(f"kav_{name}", what, labels, registry=REGISTRY)


def _histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"kav_{name}", what, buckets=buckets, registry=REGISTRY)


CALLS: Final = _counter("calls", "Calls that are over.", "direction", "flow", "end_reason")
COST: Final = _counter("cost_usd", "What the models cost, as far as their prices are known.", "flow")
TURNS: Final = _counter("turns", "Turns that were taken.", "who")
BARGE_INS: Final = _counter("barge_ins", "Times that a caller spoke over the bot.")
BREACHES: Final = _counter("breaches", "What the model did and may not do.", "what")
TOOL_CALLS: Final = _counter("tool_calls", "Calls of tools, the judge's among them.", "tool")
AFTER_CALL: Final = _counter(
    "after_call", "What was to be done after calls: summary, sms, email, webhook.", "task", "outcome"
)

SOCKET_GHOST: Final = _histogram("socket_ghost_seconds", "From a call's end to FIN on both sockets.", SHORT_S)
LINE_GHOST: Final = _histogram(
    "line_ghost_seconds", "From an end that Kav decided to Twilio's terminal status.", LINE_S
)
BARGE_IN: Final = _histogram("barge_in_seconds", "From the model's speech_started to Twilio's clear.", SHORT_S)
FIRST_WORD: Final = _histogram("first_word_seconds", "From a stream's start to the bot's first sound.", ANSWER_S)
TURN_LATENCY: Final = _histogram("turn_latency_seconds", "From the end of a caller's turn to the answer.", ANSWER_S)
JUDGE: Final = _histogram("judge_seconds", "How much of that the judgement took.", ANSWER_S)
HUB_LAG: Final = _histogram("hub_lag_seconds", "How late the watchdog came, ten times a second.", SHORT_S)


def note_call(*, direction: str, flow: str, end_reason: str) -> None:
    """A call is over."""
    CALLS.labels(direction, flow, end_reason).inc()


def note_talk(chronicle: Chronicle, own_tools: Iterable[str]) -> None:
    """Count what a call brought, once, when it is over; `own_tools` are the names that a tool of it may have."""
    for turn in chronicle.turns:
        TURNS.labels(turn.who).inc()
        if turn.latency_ms is not None:
            TURN_LATENCY.observe(turn.latency_ms / 1000)
        if turn.judge_ms is not None:
            JUDGE.observe(turn.judge_ms / 1000)
    for _, breach in chronicle.breaches:
        BREACHES.labels(breach.what).inc()
    known = frozenset(own_tools)
    for run in chronicle.tools.values():
        TOOL_CALLS.labels(run.name if run.name in known else OTHER_TOOL).inc()


def note_stream(*, ghost_s: float, first_sound_s: float | None, reactions_s: Iterable[float]) -> None:
    """A stream is over: what it took to close it, to its first sound, and to fall silent for the caller."""
    SOCKET_GHOST.observe(ghost_s)
    if first_sound_s is not None:
        FIRST_WORD.observe(first_sound_s)
    for reaction_s in reactions_s:
        BARGE_INS.inc()
        BARGE_IN.observe(reaction_s)


class Figures(Collector):
    """Gauges that are read when somebody asks: `read` returns them by name, with what each of them is."""

    def __init__(self, read: Callable[[], Mapping[str, tuple[str, float | Mapping[str, float]]]]) -> None:
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the gauges as they are now; one with several values has them by `state`."""
        for name, (what, value) in self._read().items():
            if isinstance(value, Mapping):
                family = GaugeMetricFamily(f"kav_{name}", what, labels=["state"])
                for state, number in value.items():
                    family.add_metric([state], number)
            else:
                family = GaugeMetricFamily(f"kav_{name}", what, value=value)
            yield family


def exposition(figures: Figures) -> bytes:
    """Return all metrics in Prometheus's text format."""
    now = CollectorRegistry()
    now.register(figures)
    return generate_latest(REGISTRY) + generate_latest(now)
