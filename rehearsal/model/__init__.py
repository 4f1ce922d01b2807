"""The model stand-in: a strict OpenAI Realtime server for rehearsals and tests; see `rehearsal.model.server`."""

from rehearsal.model.faults import NEVER, After, Faults, Tuning
from rehearsal.model.rules import RULES, Violation
from rehearsal.model.script import CallTool, ObedientScript, Reply, ReplyRequest, Say, Script, SessionInfo, WriteText
from rehearsal.model.server import ModelServer
from rehearsal.model.session import ModelSession

__all__ = [
    "NEVER",
    "RULES",
    "After",
    "CallTool",
    "Faults",
    "ModelServer",
    "ModelSession",
    "ObedientScript",
    "Reply",
    "ReplyRequest",
    "Say",
    "Script",
    "SessionInfo",
    "Tuning",
    "Violation",
    "WriteText",
]
