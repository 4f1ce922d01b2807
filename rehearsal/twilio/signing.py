"""How Twilio signs what it asks: the `X-Twilio-Signature` header of webhooks and of the media socket's upgrade.

Written from Twilio's description (Security, "Validating requests"), not with the vendor's validator, so that the two
can be held against each other.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping

SIGNATURE_HEADER = "X-Twilio-Signature"
IDEMPOTENCY_HEADER = "I-Twilio-Idempotency-Token"


def signature(auth_token: str, url: str, form: Mapping[str, str] | None = None) -> str:
    """Sign a request: the URL as configured, then name and value of each form field in the order of the names.

    The media socket is signed over its `wss://` URL as it stands in the TwiML, without fields.
    """
    text = url + "".join(name + value for name, value in sorted((form or {}).items()))
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def signed_headers(auth_token: str | None, url: str, form: Mapping[str, str] | None = None) -> dict[str, str]:
    """The signature as a header; none without a token."""
    return {SIGNATURE_HEADER: signature(auth_token, url, form)} if auth_token else {}
