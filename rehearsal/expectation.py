"""What a scenario says must be true of its call. Data, checked strictly; `rehearsal.verdict` looks at it."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """A mapping of a scenario's file: no field but those that exist, and none of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def matches(said: str, wanted: str) -> bool:
    """Whether somebody said `wanted`, or began to, where that ends with an ellipsis."""
    return said.startswith(wanted[:-1]) if wanted.endswith("…") else said == wanted


class Heard(Strict):
    """Something that the caller heard of the bot, whole or until it was cut off. A text may end with an ellipsis."""

    whole: str | None = None
    cut_off: str | None = None
    silent_within_ms: float | None = Field(default=None, gt=0)
    """From the first sound of the caller's line to the bot's last."""

    @model_validator(mode="after")
    def _whole_or_not(self) -> Self:
        if (self.whole is None) == (self.cut_off is None):
            raise ValueError("something is heard either `whole` or `cut_off`: give it one of them")
        if self.whole is not None and self.silent_within_ms is not None:
            raise ValueError("`silent_within_ms` belongs to `cut_off`")
        return self

    @property
    def text(self) -> str:
        """What was said."""
        return self.whole or self.cut_off or ""


class Answer(Strict):
    """A step that has no value on record."""

    unanswered: str
    """Why: `dont_know`, `not_understood`, `refused` or `invalid`."""


class Expect(Strict):
    """What must be true of the call; what is not mentioned is not judged, but for the rules that every call keeps."""

    heard: tuple[Heard, ...] | None = None
    """All of it, in this order."""
    announced: tuple[str, ...] | None = None
    """Texts of Twilio's `<Say>`, all of them."""
    dialled: tuple[str, ...] | None = None
    """Numbers that the call was handed over to, whether anybody answered or not."""
    closed_within_s: float | None = Field(default=None, gt=0)
    """Every socket, to FIN: from the hang-up or fault that ended it, or from the last word where Kav ended it."""
    end_reason: str | None = None
    answers: Mapping[str, Answer | str] | None = None
    """What is on record of each step, all of them: the value, `caller_id` for the caller's own number."""
    breaches: tuple[str, ...] | None = None
    """What is on record that the model did and may not do, all of it; with its detail behind a colon."""
    languages: tuple[str, ...] | None = None
    """What the bot spoke, from one switch to the next."""
    translated: int | None = Field(default=None, ge=0)
    """How many of Kav's own sentences are on record as translated by the model."""
    statuses: tuple[str, ...] | None = None
    """Twilio's status callbacks."""
    streams: int | None = Field(default=None, ge=0)
    model_sessions: int | None = Field(default=None, ge=0)
