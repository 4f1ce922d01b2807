"""Guards what a call is said to cost: equal to a sum worked by hand, and unknown rather than guessed."""

from dataclasses import dataclass

import pytest

from kav.cost import load_prices, read_prices


@dataclass(frozen=True)
class Used:
    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0


# The usage of one `response.done`: 119 text tokens in, 64 of them cached, 13 audio in, 30 text and 91 audio out.
RESPONSE = Used(input_text=119, cached_text=64, input_audio=13, output_text=30, output_audio=91)


@pytest.mark.parametrize(
    ("model", "micro_usd"),
    [
        # 55 x 4 + 64 x 0.40 + 13 x 32 + 30 x 24 + 91 x 64 = 220 + 25.6 + 416 + 720 + 5824 = 7205.6
        ("gpt-realtime-2.1", 7206),
        # 55 x 0.60 + 64 x 0.06 + 13 x 10 + 30 x 2.40 + 91 x 20 = 33 + 3.84 + 130 + 72 + 1820 = 2058.84
        ("gpt-realtime-2.1-mini", 2059),
        # as the first, with 30 x 16 instead of 30 x 24: 6965.6
        ("gpt-realtime-1.5", 6966),
    ],
)
def test_a_response_costs_what_a_hand_worked_sum_says(model: str, micro_usd: int) -> None:
    assert load_prices().micro_usd(model, RESPONSE) == micro_usd


def test_a_first_minute_of_listening_and_one_of_speaking_cost_what_openai_says() -> None:
    # 1 token per 100 ms of the caller and per 50 ms of the model: "$0.0192 / $0.0768 per minute".
    prices = load_prices()
    assert prices.micro_usd("gpt-realtime-2.1", Used(input_audio=600)) == 19_200
    assert prices.micro_usd("gpt-realtime-2.1", Used(output_audio=1200)) == 76_800


def test_what_is_cached_costs_less_and_is_not_counted_twice() -> None:
    prices = load_prices()
    assert prices.micro_usd("gpt-realtime-2.1", Used(input_audio=1000, cached_audio=1000)) == 400
    assert prices.micro_usd("gpt-realtime-2.1", Used(input_text=10, cached_text=64)) == 4  # absurd, and never negative


def test_a_transcriber_is_paid_by_the_minute() -> None:
    assert load_prices().audio_micro_usd("gpt-transcribe", audio_s=90) == 6_750


def test_a_model_without_a_price_costs_nobody_knows_what_and_is_named() -> None:
    prices = load_prices()
    assert prices.micro_usd("gpt-of-tomorrow", RESPONSE) is None
    assert prices.audio_micro_usd("gpt-of-tomorrow", 60) is None
    assert "gpt-of-tomorrow" in prices.notice("gpt-of-tomorrow")
    assert prices.notice("gpt-realtime-2.1") == ""


@pytest.mark.parametrize(
    "wrong", ["", "gpt: 3", "- models: [a]\n  text: {in: much, cached: 1, out: 1}", "- text: {}", "[:"]
)
def test_a_price_list_that_cannot_be_read_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"prices\.yaml"):
        read_prices(wrong)
