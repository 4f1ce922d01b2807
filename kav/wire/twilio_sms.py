"""SMS through Twilio's REST API (resource Message).

Source of the limit and the codes: Twilio's Messages API; 21606: the number cannot send SMS.
"""

from typing import Final

from kav.wire.twilio_rest import RefusedRequestError, TwilioRest, UnknownOutcomeError, masked

MAX_CHARS: Final = 1600
CANNOT_SEND: Final = (21606, 21660, 21659)
"""Not a number of the account that can send: no SMS capability, not the account's, not a telephone number."""


def send_sms(rest: TwilioRest, to: str, from_: str, text: str) -> str:
    """Send one SMS between two numbers (E.164); returns its sid. Asked once only, for a second one would be read twice.

    Raises TwilioRestError: UnreachableError when it has surely not been sent.
    """
    try:
        sent = rest.ask(
            f"the SMS to {masked(to)}",
            lambda client: client.messages.create(to=to, from_=from_, body=text[:MAX_CHARS]),
            once=True,
            patience_s=0,  # who sends it tries again, at a pace of their own
        )
    except UnknownOutcomeError as error:
        raise UnknownOutcomeError(f"the SMS to {masked(to)} may have been sent or not: Twilio did not say") from error
    except RefusedRequestError as error:
        if error.refusal is not None and error.refusal.code in CANNOT_SEND:
            raise RefusedRequestError(
                f"{error}: the number that the call was for cannot send SMS; let the owner have e-mail instead",
                error.refusal,
            ) from error
        raise
    return str(sent.sid)
