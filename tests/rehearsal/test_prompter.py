"""Guards the voice that a rehearsal gives to Kav's own words: that of the language they are written in."""

import pytest

from rehearsal.prompter import alphabet


@pytest.mark.parametrize(
    ("text", "language"),
    [("שלום", "he"), ("في أي مدينة أنتم؟", "ar"), ("В каком вы городе?", "ru"), ("12 Hello", "en"), ("...", "en")],
)
def test_a_text_has_the_voice_of_its_first_letter(text: str, language: str) -> None:
    assert alphabet(text) == language
