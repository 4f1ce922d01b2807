"""How often the others are told, and how long they are waited for."""

from typing import Final

ROUND_S: Final = 1.0
"""How old what others know of a live call may be: a process that is killed takes no more with it."""

SELDOM_S: Final = 10.0
"""How often the same is asked of a call that is over, here and there: only a Redis that has forgotten it has news."""

LOOK_S: Final = 0.1
"""How soon an answer, or another question, is told: the next stream of the call goes on from there."""

WORD_S: Final = 1.0
"""How long a webhook waits for the word of the process whose stream has just closed; Twilio waits 15 s."""

WORD_EVERY_S: Final = 0.02
SEEK_S: Final = 3.0
"""How long a webhook of a call that must be somewhere waits for a Redis that is away: longer than it takes to find it
back after a stall; the caller hears silence meanwhile, and would hear an apology."""

SEEK_EVERY_S: Final = 0.1
LOST_S: Final = 10.0
"""How long who carried a lost stream leaves its call alone if Redis was away since: others are given time to tell."""
