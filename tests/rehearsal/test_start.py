"""What a newcomer has put into `.env` before there is a key."""

from pathlib import Path

from rehearsal.start import told_for_rehearsals


def test_a_rehearsal_heeds_the_port_and_the_password_that_were_written_down(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=8155\nKAV_CONSOLE_PASSWORD=a-long-enough-one\nKAV_API_TOKEN=for-real-calls\n")
    assert told_for_rehearsals({}, file) == {"PORT": "8155", "KAV_CONSOLE_PASSWORD": "a-long-enough-one"}
    assert told_for_rehearsals({"PORT": "9000"}, file)["PORT"] == "9000"
    assert told_for_rehearsals({}, tmp_path / "nowhere") == {"PORT": "", "KAV_CONSOLE_PASSWORD": ""}
