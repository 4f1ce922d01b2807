"""Renders a long page piece by piece, so that no call waits for one: between the pieces others have their turn."""

import time
from typing import Final

import gevent
from flask import current_app

PIECE_S: Final = 0.002
"""How long the hub is held at a time, more or less: a tenth of a frame of audio."""


def render_by_pieces(name: str, **shows: object) -> str:
    """Return what `flask.render_template` returns; what is shown must not change in the meantime."""
    current_app.update_template_context(shows)
    written: list[str] = []
    until = time.perf_counter() + PIECE_S
    for piece in current_app.jinja_env.get_template(name).generate(shows):
        written.append(piece)
        if time.perf_counter() >= until:
            gevent.sleep(0)
            until = time.perf_counter() + PIECE_S
    return "".join(written)
