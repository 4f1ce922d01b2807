"""Decisions about one call: pure, no socket, clock, Flask, gevent or environment in here.

Events go in (`events`), actions come out (`actions`), `session.CallSession` is the one who decides.
"""
