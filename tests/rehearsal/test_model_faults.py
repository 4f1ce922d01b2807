"""Guards the model stand-in's misbehaviour: each fault does what a scenario orders it for, and nothing else."""

import asyncio
import time

import pytest

from rehearsal.model import NEVER, After, CallTool, Faults, ModelServer, ModelSession, ObedientScript, Say, Tuning
from rehearsal.model.faults import GARBAGE
from rehearsal.model.mulaw import hum
from rehearsal.websocket import Peer, Refused, connect
from tests.rehearsal.model_client import FAST, KEY, SETTINGS, Client, detection, talking

LONG = Say("משפט ארוך", audio=bytes(40_000))
ON_SECOND_DELTA = "response.output_audio.delta"


async def arrive(server: ModelServer, timeout_s: float = 5) -> Peer:
    return await connect(f"{server.url}?model=gpt-realtime-2.1", headers=KEY, timeout_s=timeout_s)


async def gone(peer: Peer) -> None:
    await asyncio.wait_for(peer.gone(), 5)


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_only_the_next_session_is_refused(status: int) -> None:
    async with ModelServer() as server:
        server.next_faults(Faults(refuse_status=status))
        with pytest.raises(Refused) as refused:
            await arrive(server)
        peer = await arrive(server)
        peer.abort()

        assert refused.value.status == status
        assert not server.violations


async def test_an_upgrade_can_be_slow_or_never_answered() -> None:
    async with ModelServer() as server:
        server.next_faults(Faults(upgrade_after_s=0.1), Faults(upgrade_after_s=NEVER))
        start = time.monotonic()
        peer = await arrive(server)
        assert time.monotonic() - start >= 0.1
        with pytest.raises(TimeoutError):
            await arrive(server, timeout_s=0.2)
        peer.abort()

        assert len(server.sessions) == 1


async def test_a_client_that_hangs_up_while_it_waits_for_the_upgrade_leaves_nothing() -> None:
    async with ModelServer(faults=Faults(upgrade_after_s=NEVER)) as server:
        with pytest.raises(TimeoutError):
            await arrive(server, timeout_s=0.1)
        async with asyncio.timeout(5):
            while server.open_connections:  # a count, not an event: there is nothing to await
                await asyncio.sleep(0.01)

        assert server.open_sessions == 0


async def test_session_created_can_be_missing() -> None:
    async with talking(settings=None, faults=Faults(no_session_created=True)) as client:
        await client.configure()

        assert client.types == ["session.updated"]


async def test_session_updated_can_be_missing_and_audio_then_counts_as_unconfirmed() -> None:
    async with talking(settings=None, faults=Faults(no_session_updated=True)) as client:
        client.send("session.update", session=SETTINGS)
        client.append(b"\xff" * 160)
        await client.session.wait_for("input_audio_buffer.append")

        assert not client.session.journal.of("session.updated")
        assert [violation.rule for violation in client.session.violations] == ["audio-before-pcmu"]


async def test_session_update_can_be_refused_without_blame() -> None:
    async with talking(settings=None, faults=Faults(refuse_update_code="invalid_value")) as client:
        client.send("session.update", session=SETTINGS)

        assert (await client.until("error"))["error"]["code"] == "invalid_value"
        assert not client.session.violations


async def run_to_the_end(act: str, count: int = 2) -> Client:
    """Let `act` happen after the second audio delta; return once the client's connection is gone."""
    faults = Faults(after=(After(ON_SECOND_DELTA, act, count),))
    async with talking(ObedientScript([LONG]), faults=faults, tuning=Tuning(speed=20)) as client:
        client.send("response.create")
        await gone(client.peer)
        assert len(client.session.journal.of(ON_SECOND_DELTA)) == count
        return client


async def test_it_can_drop_at_a_chosen_moment() -> None:
    client = await run_to_the_end("drop")

    assert client.peer.eof_at is not None
    assert client.peer.close_frame_at is client.peer.reset_at is None


async def test_it_can_reset_at_a_chosen_moment() -> None:
    client = await run_to_the_end("reset")

    assert client.peer.reset_at is not None
    assert client.peer.close_frame_at is client.peer.eof_at is None


async def test_it_can_close_at_a_chosen_moment() -> None:
    client = await run_to_the_end("close")

    assert client.peer.close_code == 1000


async def test_it_can_expire_at_a_chosen_moment() -> None:
    client = await run_to_the_end("expire")

    assert client.session.journal.of("error")[0]["error"]["code"] == "session_expired"
    assert client.peer.close_code == 1001


async def test_a_stall_keeps_the_socket_and_holds_everything_back_until_it_is_over() -> None:
    faults = Faults(after=(After(ON_SECOND_DELTA, "stall", 2),))
    async with talking(ObedientScript([LONG]), faults=faults, tuning=Tuning(speed=50)) as client:
        client.send("response.create")
        await client.session.wait_for(ON_SECOND_DELTA, 2)
        client.send("input_audio_buffer.clear")
        await client.session.wait_for("input_audio_buffer.clear")
        assert len(client.session.journal.of(ON_SECOND_DELTA)) == 2
        assert client.session.is_open

        client.session.resume()
        assert (await client.until("response.done"))["response"]["status"] == "completed"
        assert len(client.audio()) == 40_000


async def test_a_stall_can_stop_reading_too_and_a_vanished_model_hears_only_of_the_end() -> None:
    async with talking() as client:
        client.session.stall(reading=False)
        client.send("input_audio_buffer.clear")
        client.session.vanish()
        client.peer.drop()
        await gone(client.session.peer)

        assert not client.session.journal.of("input_audio_buffer.clear")
        assert not client.session.is_open


@pytest.mark.parametrize("kind", [*GARBAGE, "binary"])
async def test_garbage_is_sent_and_the_session_goes_on(kind: str) -> None:
    async with talking() as client:
        client.session.garbage(kind)
        message = await asyncio.wait_for(client.peer.receive(), 5)

        assert message == (b"\x00\xff garbage" if kind == "binary" else GARBAGE[kind])
        assert (await client.reply())["status"] == "completed"


async def test_errors_come_on_demand() -> None:
    async with talking() as client:
        client.session.error("insufficient_quota", "You have no money left.")

        assert (await client.until("error"))["error"]["code"] == "insufficient_quota"
        assert client.session.is_open


async def test_one_that_never_answers_a_close_does_not() -> None:
    async with talking(faults=Faults(answers_close=False)) as client:
        client.peer.close(1000)
        client.peer.drop()
        await gone(client.session.peer)

        assert client.session.peer.close_frame_at is not None
        assert client.peer.close_frame_at is client.peer.eof_at is None
        assert not client.session.is_open


async def test_response_created_can_be_slow() -> None:
    async with talking(faults=Faults(created_after_s=0.15)) as client:
        client.send("response.create")
        asked = time.monotonic()
        await client.until("response.created")

        assert time.monotonic() - asked >= 0.14


async def test_response_done_can_be_late_after_a_function_call_only() -> None:
    script = ObedientScript([Say("שלום", audio=b""), CallTool("end_call")])
    async with talking(script, faults=Faults(done_after_call_s=0.3)) as client:
        await client.reply()
        await client.reply()
        gaps = [
            client.session.sent[at][0] - client.session.sent[at - 1][0]
            for at, (_time, event) in enumerate(client.session.sent)
            if event["type"] == "response.done"
        ]

        assert gaps[0] < 0.29 <= gaps[1]


async def test_deltas_under_way_can_arrive_after_speech_started() -> None:
    faults = Faults(late_deltas=2)
    async with talking(ObedientScript([LONG]), settings=detection(), faults=faults, tuning=Tuning(speed=4)) as client:
        client.send("response.create")
        await client.until("response.output_audio.delta")
        client.append(hum("אבגד"))
        done = (await client.until("response.done"))["response"]
        after = client.types[client.types.index("input_audio_buffer.speech_started") :]

        assert done["status"] == "cancelled"
        assert after.count("response.output_audio.delta") == 2


async def test_a_failed_transcription_says_so() -> None:
    async with talking(faults=Faults(transcription_fails=True)) as client:
        client.append(hum("אבגד") + b"\xff" * 8000)
        failed = await client.until("conversation.item.input_audio_transcription.failed")

        assert failed["error"]["code"] == "audio_unintelligible"


async def test_an_act_can_be_any_function_of_the_session() -> None:
    seen: list[ModelSession] = []
    async with talking(faults=Faults(after=(After("session.update", seen.append),))) as client:
        assert seen == [client.session]


async def test_fifty_sessions_end_and_none_is_left() -> None:
    async with ModelServer(tuning=FAST) as server:
        peers = [await arrive(server) for _ in range(50)]
        assert server.open_sessions == 50
        for peer in peers:
            peer.close()
        for session in server.sessions:
            await gone(session.peer)

        assert server.open_sessions == 0
