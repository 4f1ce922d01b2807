"""A call is answered, greeted and carried: the first word, and every word of the caller's."""

from rehearsal.world import World


async def test_the_greeting_is_heard_whole(world: World) -> None:
    call = await world.connected_call()
    session = await world.session_of(call)
    await session.wait_for("response.done")
    await call.until_quiet()
    assert call.heard_ms > 1000
    await call.hang_up()


async def test_every_caller_frame_is_forwarded_bit_for_bit_in_order(world: World) -> None:
    call = await world.connected_call()
    session = await world.session_of(call)
    voice = bytes(range(256)) * 40
    await call.say(voice)
    await call.until_heard(500)
    await call.hang_up()
    sent = b"".join(call.sent_frames)
    assert voice in sent
    assert sent.startswith(session.audio_in[: len(sent)])
    assert len(session.audio_in) >= len(sent) - 160 * 3, "at most the frames under way at the hang-up are missing"
