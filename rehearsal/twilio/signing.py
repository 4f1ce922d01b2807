"""How Twilio signs what it asks: the `X-Twilio-Signature` header of webhooks and of the media socket's upgrade.

Written from Twilio's description (Security, "Validating requests"), not with the vendor's validator, so that the two
can be held against each other.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

SIGNATURE_HEADER = "X-Twilio-Signature"
SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"
IDEMPOTENCY_HEADER = "I-Twilio-Idempotency-Token"


@dataclass(frozen=True)
class SharedKey:
    """What an account signs with instead of its auth token, once it has opted in."""

    id: str
    secret: str
    algorithm: str = "HMAC_SHA256"


def signature(secret: str, url: str, form: Mapping[str, str] | None = None, digest: str = "sha1") -> str:
    """Sign a request: the URL as configured, then name and value of each form field in the order of the names.

    The media socket is signed over its `wss://` URL as it stands in the TwiML, without fields.
    """
    text = url + "".join(name + value for name, value in sorted((form or {}).items()))
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), digest).digest()).decode()


def signed_headers(
    auth_token: str | None, url: str, form: Mapping[str, str] | None = None, *, shared_key: SharedKey | None = None
) -> dict[str, str]:
    """The signature as a header, beside one that names the SharedKey if it is one's; none without a token."""
    if shared_key is not None:
        settings = f"key={shared_key.id},algorithm={shared_key.algorithm}"
        return {SIGNATURE_HEADER: signature(shared_key.secret, url, form, "sha256"), SETTINGS_HEADER: settings}
    return {SIGNATURE_HEADER: signature(auth_token, url, form)} if auth_token else {}
