"""What the hot paths of both ends count; one object for a whole world."""

from array import array
from dataclasses import dataclass, field


def _seconds() -> "array[float]":
    return array("d")


@dataclass(slots=True)
class Measure:
    """Counts since the last `restart`, except for losses and refusals, which are never forgotten."""

    to_model_s: "array[float]" = field(default_factory=_seconds)
    """Added latency of the caller's frames: sent by the caller, arrived at the model."""
    to_caller_s: "array[float]" = field(default_factory=_seconds)
    """Added latency of the model's audio: sent by the model, arrived at the caller."""
    frames_sent: int = 0
    deltas_sent: int = 0
    frames_lost: int = 0
    """Gaps in the sequence of either direction, and audio that is not what was sent."""
    refusals: list[str] = field(default_factory=list)
    """What a real peer would have refused, or what never should happen."""

    def restart(self) -> None:
        self.to_model_s = _seconds()
        self.to_caller_s = _seconds()
        self.frames_sent = self.deltas_sent = 0
