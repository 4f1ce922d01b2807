"""Guards the voices: what is said is heard as speech, by an ear that the model stand-in shares, in four languages."""

from pathlib import Path

import pytest
import webrtcvad
import yaml

from rehearsal import audio, speech

LINES = [
    ("רוצה שנמשיך מאיפה שהיינו?", "he"),
    ("כן", "he"),
    ("מה השעה?", "he"),
    ("כיסא ושולחן", "he"),  # in no sentence of the lexicon
    ("مرحبا، كيف يمكنني مساعدتك؟", "ar"),
    ("نعم", "ar"),
    ("Здравствуйте, чем могу помочь?", "ru"),
    ("Да", "ru"),
    ("Hello, can you hear me?", "en"),
    ("Stop", "en-us"),
]


def voiced(ulaw: bytes) -> list[bool]:
    ear = webrtcvad.Vad(2)
    frames = [ulaw[n : n + audio.FRAME_BYTES] for n in range(0, len(ulaw) - audio.FRAME_BYTES + 1, audio.FRAME_BYTES)]
    return [ear.is_speech(audio.decode_ulaw(frame).tobytes(), audio.SAMPLE_RATE) for frame in frames]


@pytest.mark.parametrize(("text", "language"), LINES)
def test_a_line_is_taken_for_speech_at_once_and_throughout(text: str, language: str) -> None:
    frames = voiced(speech.speak(text, language))

    assert sum(frames[:5]) >= 3
    assert sum(frames) / len(frames) >= 0.85


def test_a_hebrew_line_lasts_as_long_as_a_person_would_need() -> None:
    sentence = speech.speak("רוצה שנמשיך מאיפה שהיינו?", "he")

    assert 1500 < audio.duration_ms(sentence) < 3000  # spelled letter by letter it would last ten seconds


@pytest.mark.parametrize(
    ("pointed", "sounds"),
    [
        ("שָׁלוֹם", "[[Sal'om]]"),
        ("שֶׁהָיִינוּ", "[[Sehaj'inu]]"),
        ("בֹּקֶר", "[[b'okeR]]"),
        ("רוּחַ", "[[Ru'aX]]"),
        ("גָּבֹהַּ", "[[gavo'ah]]"),
        ("הָלַכְתִּי", "[[hal'aXti]]"),
        ("תּוֹדָה רַבָּה", "[[tod'a]] [[Rab'a]]"),
        ("עָוֹן", "[[av'on]]"),
        ("מִצְוָה", "[[mitsv'a]]"),
        ("שָׂרָה", "[[saR'a]]"),
        ("וּלְהִתְרָאוֹת", "[[ulhitRa'ot]]"),
        ("צִ'יפְּס", "[[tS'ips]]"),
        ("אֲנַ֫חְנוּ", "[[an'aXnu]]"),
        ("כֵּן, Mazda 3.", "[[k'en]], Mazda 3."),
    ],
)
def test_pointed_hebrew_is_read_as_israelis_say_it(pointed: str, sounds: str) -> None:
    assert speech.phonemes(pointed) == sounds


def test_a_sentence_of_the_lexicon_is_known_without_its_punctuation() -> None:
    assert speech.with_points("מה השעה") == "מָה הַשָּׁעָה?"


def test_a_known_word_is_pointed_in_an_unknown_sentence() -> None:
    assert speech.with_points("שלום כיסא") == "שָׁלוֹם כיסא"


def test_the_lexicon_points_word_by_word_and_changes_no_letter() -> None:
    sentences: dict[str, str] = yaml.safe_load(Path(speech.__file__).with_name("lexicon.he.yaml").read_text("utf-8"))
    full_and_bare = str.maketrans("", "", "וי")  # pointed spelling may drop a vav or yod that only marks a vowel

    for sentence, pointed in sentences.items():
        assert len(sentence.split()) == len(pointed.split()), sentence
        assert speech.plain(pointed).translate(full_and_bare) == speech.plain(sentence).translate(full_and_bare)


def test_points_handed_along_are_those_that_are_said() -> None:
    assert speech.speak("ספר", "he", pointed="סֵפֶר") != speech.speak("ספר", "he", pointed="סַפָּר")


def test_a_line_is_kept_on_disk_for_the_next_run() -> None:
    before = set(speech.cache_folder().iterdir())
    line = speech.speak(f"Never said before {len(before)} {id(before)}", "en")

    written = set(speech.cache_folder().iterdir()) - before

    assert line in [path.read_bytes() for path in written]
    for path in written:
        path.unlink(missing_ok=True)


def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(speech.SpeechError, match="no voice 'nowhere'"):
        speech.speak("Hello", "nowhere")
