"""A stand-in for Twilio: everything it does, as a phone agent meets it over the wire."""

from rehearsal.twilio.call import Call
from rehearsal.twilio.script import Callbacks, Callee, CallScript, Human, Line
from rehearsal.twilio.world import ACCOUNT_SID, CALLER, NUMBER, Twilio

__all__ = ["ACCOUNT_SID", "CALLER", "NUMBER", "Call", "CallScript", "Callbacks", "Callee", "Human", "Line", "Twilio"]
