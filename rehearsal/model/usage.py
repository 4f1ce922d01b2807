"""Tokens of one response, by the documented rates: caller audio 1 per 100 ms, model audio 1 per 50 ms."""

from collections.abc import Sequence
from math import ceil

from rehearsal.model.config import estimated_tokens
from rehearsal.model.conversation import Item
from rehearsal.model.rules import Event

_CALLER_MS_PER_TOKEN, _MODEL_MS_PER_TOKEN = 100, 50
_CACHE_BLOCK = 64  # cached tokens come in blocks of this size


def usage(settings: Event, conversation: Sequence[Item], output: Sequence[Item]) -> Event:
    """`response.done`'s usage; text tokens are estimates, and the prompt's prefix counts as cached."""
    context = [item for item in conversation if item not in output]
    prompt = ceil(estimated_tokens(str(settings["instructions"] or "") + str(settings["tools"] or "")))
    text_in = prompt + sum(_text_tokens(item) for item in context)
    audio_in = sum(_audio_tokens(item) for item in context)
    text_out = sum(_text_tokens(item) for item in output)
    audio_out = sum(_audio_tokens(item) for item in output)
    cached = prompt // _CACHE_BLOCK * _CACHE_BLOCK
    return {
        "total_tokens": text_in + audio_in + text_out + audio_out,
        "input_tokens": text_in + audio_in,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text_in,
            "audio_tokens": audio_in,
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


def _text_tokens(item: Item) -> int:
    spoken = item.transcript or "" if item.role == "assistant" else ""
    return ceil(estimated_tokens(item.text + spoken + item.arguments + item.output))


def _audio_tokens(item: Item) -> int:
    return ceil(item.audio_ms / (_MODEL_MS_PER_TOKEN if item.role == "assistant" else _CALLER_MS_PER_TOKEN))
