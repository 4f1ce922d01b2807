"""The console's style sheets, scripts and pictures: read once at boot, so that no request waits for a file."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flask import Response, abort, request, url_for
from werkzeug.wrappers import Response as AnyResponse

FOLDER: Final = Path(__file__).with_name("static")
FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_FIRST: Final = "no-cache"

TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, and what is said about it."""

    body: bytes
    content_type: str
    version: str


class Assets:
    """All files below `static/`, by their path there."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self._files = {path.relative_to(folder).as_posix(): _read(path) for path in paths}

    def serve(self, name: str) -> AnyResponse:
        """Answer with a file: to be kept for ever under the URL that names its version, else asked for anew."""
        asset = self._files.get(name)
        if asset is None:
            abort(404)
        response = Response(asset.body, content_type=asset.content_type)
        response.headers["Cache-Control"] = FOR_EVER if request.args.get("v") == asset.version else ASK_FIRST
        response.set_etag(asset.version)
        return response.make_conditional(request)

    def url(self, name: str) -> str:
        """Return the URL of a file, with its version."""
        return url_for("console.static_file", name=name, v=self._files[name].version)


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    guessed = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(body, guessed, hashlib.sha256(body).hexdigest()[:16])
