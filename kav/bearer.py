"""The operator's token: who has it may ask."""

import hmac


def is_bearer(header: str, token: str) -> bool:
    """Whether an `Authorization` header carries `token`, compared in constant time; without a token nobody has it."""
    return bool(token) and hmac.compare_digest(header.encode(), f"Bearer {token}".encode())
