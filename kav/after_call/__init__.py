"""What is done for a call when it is over: it is summed up, its owner is told, a webhook is sent.

    after_call = AfterCall(settings, records, rest)
    after_call.warm_up()                 # at boot, before calls come
    after_call.take(report)              # returns at once; a call is taken once
    after_call.stop(timeout_s=2)         # what is not done by then is logged

Nothing here is on the media path, and no call's end waits for it.
"""

from kav.after_call.desk import AfterCall, reaches_owner
from kav.after_call.entries import report_of
from kav.after_call.report import CallReport, Findings, Given, Said

__all__ = ["AfterCall", "CallReport", "Findings", "Given", "Said", "reaches_owner", "report_of"]
