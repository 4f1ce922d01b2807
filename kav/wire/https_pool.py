"""HTTPS for what speaks through requests: one TLS context for all connections, which are kept to be used again.

Left alone, requests lets urllib3 build a context for each new connection and read all certificates for it: 15 to 20 ms
in which nobody else runs, and many calls that end at once make many connections.
"""

import os
import ssl
from typing import Any, Final

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

KEPT: Final = 50
"""Connections to one host: as many as calls that may end at the same moment; what comes beyond is not kept."""


class HttpsPool(HTTPAdapter):
    """A transport for `https://`; a certificate is always asked for, and must be its host's."""

    def __init__(self) -> None:
        self._trusted: dict[str, ssl.SSLContext] = {}
        super().__init__(pool_maxsize=KEPT)

    def trust(self, verify: object) -> ssl.SSLContext:
        """Return the one context for whom requests wants trusted: a file or a folder, or, if it names none, its own."""
        place = verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
        if place not in self._trusted:
            is_folder = os.path.isdir(place)
            self._trusted[place] = ssl.create_default_context(
                cafile=None if is_folder else place, capath=place if is_folder else None
            )
        return self._trusted[place]

    def build_connection_pool_key_attributes(
        self,
        request: PreparedRequest,
        verify: object,
        cert: object = None,  # noqa: ARG002 - a transport's signature
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what tells connections apart: the context in the place of the names of the files in it."""
        host, _ = super().build_connection_pool_key_attributes(request, verify=True)
        return host, {"cert_reqs": "CERT_REQUIRED", "ssl_context": self.trust(verify)}

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """Nothing: what this would have each connection read anew is in the context."""
