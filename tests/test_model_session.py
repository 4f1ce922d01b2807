"""Guards what the model is set to: prompts that do not fit are refused, not cut; the VAD's knobs are the only ones."""

from dataclasses import replace

import pytest

from kav.flow_files import load_flows
from kav.settings import Settings
from realtime_prompt_builder import PromptTooLong, build_session

DEFAULT = next(flow for flow in load_flows().flows if flow.id == "default")


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument


def test_words_that_do_not_fit_are_refused_by_name_and_never_cut() -> None:
    long = replace(DEFAULT, facts="מילה " * 3_000)
    assert long.facts.strip() in build_session(settings(), long)["instructions"]
    with pytest.raises(PromptTooLong, match="The flow default takes about"):
        build_session(settings(), replace(DEFAULT, facts="מילה " * 10_000))


def test_the_vads_own_settings_are_what_decides_who_speaks() -> None:
    session = build_session(settings(VAD_THRESHOLD=0.9, VAD_SILENCE_MS=700, VAD_PREFIX_MS=500), DEFAULT)
    heard = session["audio"]["input"]
    vad = heard["turn_detection"]
    assert (vad["threshold"], vad["silence_duration_ms"], vad["prefix_padding_ms"]) == (0.9, 700, 500)
    assert heard["noise_reduction"] is None, "no gate stands before it"


def test_kav_alone_asks_for_replies_and_the_model_alone_interrupts_itself() -> None:
    vad = build_session(settings(), DEFAULT)["audio"]["input"]["turn_detection"]
    assert (vad["create_response"], vad["interrupt_response"], vad["idle_timeout_ms"]) == (False, True, None)
