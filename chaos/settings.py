"""What Kav is told in a storm: patience in single seconds, so that what takes a minute in earnest is over in a few."""

from typing import Final

MEDIA_SILENCE_S: Final = 3.0

SETTINGS: Final = {
    "DRAIN_SECONDS": "0",
    "ENTRY_TTL_S": "2",
    "HANGUP_FALLBACK_S": "1",
    "MEDIA_SILENCE_S": f"{MEDIA_SILENCE_S:g}",
    "MODEL_CONNECT_TIMEOUT_S": "2",
    "MODEL_REPLY_TIMEOUT_S": "3",
    "MODEL_REST_S": "1",
    "TERMINAL_STATUS_S": "3",
    "VAD_SILENCE_MS": "200",
    "WRITE_STALL_S": "3",
    "MAX_CALLS": "300",
    "CALLS_PER_CALLER_PER_HOUR": "1000",
}
