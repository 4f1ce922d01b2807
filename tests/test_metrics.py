"""Guards the metrics: what is counted, that no caller can make new series, and that recording costs next to nothing."""

import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kav import metrics
from kav.call.audit import Breach
from kav.call.chronicle import Chronicle, ToolRun, Turn


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"kav_{name}", labels) or 0.0


@pytest.fixture
def grown() -> dict[str, float]:
    """How much each sample has grown since the test began; filled when it is asked for."""
    before = {(s.name, tuple(s.labels.items())): s.value for m in metrics.REGISTRY.collect() for s in m.samples}

    class Growth(dict[str, float]):
        def __missing__(self, name: str) -> float:
            samples = [s for m in metrics.REGISTRY.collect() for s in m.samples if s.name == f"kav_{name}"]
            return sum(s.value - before.get((s.name, tuple(s.labels.items())), 0.0) for s in samples)

    return Growth()


def test_a_talk_is_counted_turn_by_turn(grown: dict[str, float]) -> None:
    talk = Chronicle()
    talk.turns = [
        Turn(1, "bot", "phrase", 0),
        Turn(2, "caller", "caller", 900),
        Turn(3, "bot", "speak", 2000, latency_ms=1100, judge_ms=300),
    ]
    talk.breaches = [(5, Breach("phrase not exact", "greeting"))]
    metrics.note_talk(talk, ())
    assert (grown["turns_total"], grown["breaches_total"]) == (3, 1)
    assert grown["turn_latency_seconds_sum"] == pytest.approx(1.1)
    assert grown["judge_seconds_sum"] == pytest.approx(0.3)


def test_a_tool_that_the_model_made_up_makes_no_series() -> None:
    talk, other = Chronicle(), value("tool_calls_total", tool="other")
    talk.tools = {f"c{n}": ToolRun(f"c{n}", f"made_up_{n}", "{}", 0) for n in range(3)}
    metrics.note_talk(talk, ("answer_step",))
    assert value("tool_calls_total", tool="other") == other + 3
    assert value("tool_calls_total", tool="made_up_0") == 0


def test_a_stream_brings_its_ghost_its_first_sound_and_its_reactions(grown: dict[str, float]) -> None:
    metrics.note_stream(ghost_s=0.003, first_sound_s=0.9, reactions_s=[0.001, 0.002])
    metrics.note_stream(ghost_s=0.004, first_sound_s=None, reactions_s=[])
    assert (grown["socket_ghost_seconds_count"], grown["first_word_seconds_count"]) == (2, 1)
    assert grown["barge_ins_total"] == 2
    assert grown["barge_in_seconds_sum"] == pytest.approx(0.003)


def test_the_exposition_is_what_prometheus_reads() -> None:
    figures = metrics.Figures(lambda: {"live_calls": ("Calls.", {"streaming": 2.0}), "draining": ("1 if so.", 1.0)})
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition(figures).decode())}
    assert [(s.labels, s.value) for s in families["kav_live_calls"].samples] == [({"state": "streaming"}, 2.0)]
    assert families["kav_draining"].samples[0].value == 1.0
    assert {"kav_calls", "kav_hub_lag_seconds", "kav_cost_usd"} <= set(families)


def test_recording_a_metric_costs_microseconds() -> None:
    """The docs say 1 to 4 us; the best of some rounds, for the machine may be busy, and may be a slower one."""
    assert min(cost_us(lambda: metrics.HUB_LAG.observe(0.001)) for _ in range(5)) < 16
    assert min(cost_us(metrics.BARGE_INS.inc) for _ in range(5)) < 16


def cost_us(record: Callable[[], object]) -> float:
    """What one costs, of two thousand."""
    began = time.process_time()
    for _ in range(2_000):
        record()
    return (time.process_time() - began) / 2_000 * 1e6
