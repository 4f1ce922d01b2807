"""Webhooks as Twilio would send them, with what a stand-in that behaves would never send."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from rehearsal.twilio import ACCOUNT_SID
from rehearsal.twilio.signing import IDEMPOTENCY_HEADER, signed_headers
from rehearsal.world import AUTH_TOKEN, World


@dataclass(frozen=True)
class Answer:
    """What Kav said to a webhook."""

    status: int
    body: str


async def ask(
    world: World,
    path: str,
    form: Mapping[str, str],
    *,
    repeated: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """POST a form to `/twilio/...`, signed unless `headers` replace the signature; `repeated` is the retry's token."""
    url = world.kav.url + path
    signed = signed_headers(AUTH_TOKEN, url, form) if headers is None else dict(headers)
    if repeated:
        signed[IDEMPOTENCY_HEADER] = repeated
    async with aiohttp.ClientSession() as http, http.post(url, data=dict(form), headers=signed) as answer:
        return Answer(answer.status, await answer.text())


def about(call_sid: str, status: str, **more: str) -> dict[str, str]:
    """The fields of a webhook about a call."""
    return {"CallSid": call_sid, "AccountSid": ACCOUNT_SID, "CallStatus": status, "Direction": "inbound", **more}
