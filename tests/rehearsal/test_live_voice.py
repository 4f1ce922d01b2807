"""Guards the caller's voice in front of a real model: real HTTP, a telephone's audio, and every line paid for once."""

import asyncio
from pathlib import Path

import pytest

from rehearsal.audio import duration_ms
from rehearsal.live.voice import Voice, VoiceError, phone_audio
from rehearsal.speech import speak
from tests.rehearsal.openai_stand_in import KEY, openai_on_loopback

TEXT = "מה השעה?"


async def test_a_line_is_asked_for_once_whatever_the_run(tmp_path: Path) -> None:
    async with openai_on_loopback({}) as openai:
        first = await asyncio.to_thread(Voice(KEY, openai.api_url, tmp_path).speak, TEXT, "he")
        again = await asyncio.to_thread(Voice(KEY, openai.api_url, tmp_path).speak, TEXT, "he")
    assert openai.spoken == {TEXT: 1}
    assert first == again


async def test_it_arrives_at_the_telephones_rate(tmp_path: Path) -> None:
    async with openai_on_loopback({}) as openai:
        audio = await asyncio.to_thread(Voice(KEY, openai.api_url, tmp_path).speak, TEXT, "he")
    assert duration_ms(audio) == pytest.approx(duration_ms(speak(TEXT, "he")), abs=60)


async def test_another_service_or_model_is_asked_anew(tmp_path: Path) -> None:
    async with openai_on_loopback({}) as openai, openai_on_loopback({}) as other:
        for voice in (
            Voice(KEY, openai.api_url, tmp_path),
            Voice(KEY, openai.api_url, tmp_path, model="another"),
            Voice(KEY, other.api_url, tmp_path),
        ):
            await asyncio.to_thread(voice.speak, TEXT, "he")
    assert (openai.spoken, other.spoken) == ({TEXT: 2}, {TEXT: 1})


async def test_a_refusal_is_told_with_its_remedy_and_without_the_key(tmp_path: Path) -> None:
    async with openai_on_loopback({}) as openai:
        with pytest.raises(VoiceError, match="check OPENAI_API_KEY") as refused:
            await asyncio.to_thread(Voice("sk-other", openai.api_url, tmp_path).speak, TEXT, "he")
    assert "sk-other" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_silence_is_no_line() -> None:
    assert phone_audio(bytes(4800)) == b""
