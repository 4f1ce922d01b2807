"""Whatever may come over the network, and what must never come of it: material for every parser, and how long to try.

    make fuzz                       ten minutes
    make fuzz FUZZ_SECONDS=30       as CI does
    pytest tests/fuzz               a few hundred examples each

What was found stays, as an `@example` beside its test.
"""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

settings.register_profile(
    "fuzz", max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
fuzzed = settings(settings.get_profile("fuzz"))
"""For every test in here: a busy machine, and material that is thrown away, are no failures."""

TEXT = st.text(max_size=40) | st.text(st.characters(codec=None, categories=None), max_size=40)
"""Also what no encoding has: lone surrogates."""

NASTY = st.sampled_from(
    [
        *(
            "",
            " ",
            "\x00",
            "\r\n",
            "\u2028",
            "\ud800",
            "\u202e",
            "%00",
            "%",
            "%zz",
            "..",
            "//",
            "\\",
            "'",
            '"',
            "<",
            "&",
        ),
        *("{}", "{name}", "«", "”", "[", "http://[", "//[", "a" * 5000, "9" * 5000, "-1", "1e999", "NaN", "٣", "0x10"),
        *(
            "null",
            "true",
            "[]",
            "{}",
            "None",
            "CA" + "0" * 32,
            "+972501234567",
            "2026-02-30",
            "0001-01-01",
            "9999-12-31",
        ),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "completed", "inbound", "outbound-api", "human"),
    ]
)
WORDS = NASTY | TEXT
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, -(10**400), 1e308, float("inf"), float("nan")])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def dumped(value: object) -> bytes:
    """JSON as Python writes it: with NaN, Infinity and escaped surrogates, which not every reader takes."""
    return json.dumps(value).encode()


@st.composite
def mutated(draw: st.DrawFn, samples: Sequence[bytes]) -> bytes:
    """Something honest, with a few pieces of it cut out, doubled, or replaced."""
    data = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        new = draw(st.binary(max_size=8) | WORDS.map(_bytes) | st.just(data[at:end] * 2))
        data = data[:at] + new + data[end:]
    return data


@st.composite
def altered(draw: st.DrawFn, samples: Sequence[Any]) -> Any:  # noqa: ANN401 - any JSON
    """An honest JSON value with one or more of its parts replaced by anything."""
    value = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, 3))):
        value = _replaced(draw, value)
    return value


def _replaced(draw: st.DrawFn, value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value, key=repr)))
        return {**value, key: _replaced(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _replaced(draw, value[at]), *value[at + 1 :]]
    return draw(JSON)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
