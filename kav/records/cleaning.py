"""Makes what the network says fit for a column: pure, total, never raises on a caller's or Twilio's text.

Call statuses and their order: Twilio Voice, "Call status callbacks" and the Call resource's `status`.
"""

import hashlib
import re

TERMINAL_STATUSES = ("completed", "busy", "no-answer", "failed", "canceled")
STATUS_RANK = {"queued": 0, "initiated": 1, "ringing": 2, "in-progress": 3, **dict.fromkeys(TERMINAL_STATUSES, 4)}
MAX_DURATION_S = 86_400  # Twilio ends any call after 24 hours
E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_UNSTORABLE = {0: None, **dict.fromkeys(range(0xD800, 0xE000))}  # PostgreSQL refuses NUL, UTF-8 lone surrogates


def status_of(text: object) -> str | None:
    """A status that Twilio documents, or None for anything else."""
    return text if isinstance(text, str) and text in STATUS_RANK else None


def terminal_status_of(text: object) -> str | None:
    """A status after which the call is over, or None."""
    return text if isinstance(text, str) and text in TERMINAL_STATUSES else None


def duration_of(value: object) -> int | None:
    """Seconds as Twilio sends them (a decimal string), or None when absent or absurd."""
    text = str(value) if isinstance(value, (int, str)) and len(str(value)[:10]) < 10 else ""
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_DURATION_S:
        return None
    return int(text)


def direction_of(text: object) -> str | None:
    """`inbound` or `outbound`; Twilio's own `outbound-api` and `outbound-dial` are outbound, the rest is None."""
    if text == "inbound":
        return "inbound"
    return "outbound" if text in ("outbound", "outbound-api", "outbound-dial") else None


def is_e164(text: str) -> bool:
    """Whether a text is a full telephone number in the one form in which numbers are compared."""
    return E164.fullmatch(text) is not None


def words(text: str | None, limit: int) -> str | None:
    """Any text, without what databases refuse, cut to `limit` characters; None stays None."""
    return None if text is None else text[: limit * 2].translate(_UNSTORABLE)[:limit]


def key(text: str, limit: int) -> str:
    """A primary key from any text: itself when it fits, else its beginning and a digest, so that none collide."""
    clean = words(text, limit) or ""
    if clean == text:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{clean[: limit - 25]}~{digest}"
