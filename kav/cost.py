"""What a call's models cost: tokens and minutes times list prices; the prices are data, `kav/prices.yaml`.

    prices = load_prices()
    prices.micro_usd("gpt-realtime-2.1", usage)     # None: nobody knows that model's price

Costs are whole millionths of a dollar, for a price in USD per million tokens is just that many of them for one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

PRICES: Final = Path(__file__).with_name("prices.yaml")
NOTHING: Final = Decimal(0)
MICRO: Final = 1_000_000
MINUTE_S: Final = 60
UNREPORTED: Final = "unreported"
"""Stands for the model, in a call's usage, where nobody told what a response or a transcript took."""


class Used(Protocol):
    """Tokens of a model's responses, as Realtime's `response.done` counts them: input includes what was cached."""

    @property
    def input_text(self) -> int: ...  # noqa: D102
    @property
    def input_audio(self) -> int: ...  # noqa: D102
    @property
    def cached_text(self) -> int: ...  # noqa: D102
    @property
    def cached_audio(self) -> int: ...  # noqa: D102
    @property
    def output_text(self) -> int: ...  # noqa: D102
    @property
    def output_audio(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of one modality."""

    fresh: Decimal = NOTHING
    cached: Decimal = NOTHING
    output: Decimal = NOTHING

    def micro_usd(self, fresh_and_cached: int, cached: int, output: int) -> Decimal:
        """What so many tokens cost; `cached` are part of the first number, and never more than it."""
        cached = min(cached, fresh_and_cached)
        return (fresh_and_cached - cached) * self.fresh + cached * self.cached + output * self.output


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs."""

    text: Rates = Rates()
    audio: Rates = Rates()
    minute: Decimal = NOTHING
    """USD per minute of audio."""


@dataclass(frozen=True, slots=True)
class Prices:
    """The price list, by model."""

    by_model: Mapping[str, Price]

    def micro_usd(self, model: str, used: Used) -> int | None:
        """What these tokens cost, rounded once; None for a model without a price, never a guess."""
        price = self.by_model.get(model)
        if price is None:
            return None
        text = price.text.micro_usd(used.input_text, used.cached_text, used.output_text)
        audio = price.audio.micro_usd(used.input_audio, used.cached_audio, used.output_audio)
        return _rounded(text + audio)

    def audio_micro_usd(self, model: str, audio_s: float) -> int | None:
        """What so many seconds of audio cost, for a model that is paid by time; None as above."""
        price = self.by_model.get(model)
        return None if price is None else _rounded(Decimal(str(audio_s)) * price.minute * MICRO / MINUTE_S)

    def notice(self, model: str) -> str:
        """One sentence for the log when a model has no price, else the empty string."""
        if model in self.by_model:
            return ""
        return f"the price of {model} is not known, so calls have no cost on record: add it to {PRICES.name}"


def load_prices(path: Path = PRICES) -> Prices:
    """Read the price list; raises ValueError for one that is not to be understood."""
    return read_prices(path.read_text(encoding="utf-8"))


def read_prices(text: str) -> Prices:
    """Make a price list of the text of a file; raises ValueError as above."""
    try:
        return Prices({model: _price(entry) for entry in yaml.safe_load(text) for model in entry["models"]})
    except (yaml.YAMLError, ArithmeticError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{PRICES.name} is not a list of models with their prices: {error!r}") from error


def _price(entry: Mapping[str, Any]) -> Price:
    return Price(_rates(entry.get("text")), _rates(entry.get("audio")), Decimal(str(entry.get("minute", 0))))


def _rates(rates: Mapping[str, Any] | None) -> Rates:
    return Rates(*(Decimal(str(rates[name])) for name in ("in", "cached", "out"))) if rates else Rates()


def _rounded(micro_usd: Decimal) -> int:
    return int(micro_usd.quantize(Decimal(1), rounding=ROUND_HALF_UP))
