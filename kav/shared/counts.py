"""What all processes count together: who has called within the hour, what was placed within the minute, who is busy.

Each count is asked for and changed in one step of Redis's. While Redis is away nobody knows of the others: None.
"""

import json
from typing import Final

from kav.call.admission import Counted
from kav.shared import scripts
from kav.shared.link import AwayError, Link

HOUR_S: Final = 3600
MINUTE_S: Final = 60

MAX_COUNTED: Final = 1000
"""Members of one window that are remembered; a limit is far below."""

ENTER: Final = """
-- KEYS window, members by the moment that they came. ARGV member, seconds, most (-1: any), remembered. Returns how many
-- others came within those seconds and, where no more may, the milliseconds until one may; else the member is counted.
local clock, most = redis.call('TIME'), tonumber(ARGV[3])
local now = clock[1] + clock[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local others = redis.call('ZCARD', KEYS[1]) - (known and 1 or 0)
if most >= 0 and others >= most and not known then
  local leaves = redis.call('ZRANGE', KEYS[1], others - most, others - most, 'WITHSCORES')[2]
  return {others, math.ceil((leaves + ARGV[2] - now) * 1000)}
end
if not known then redis.call('ZADD', KEYS[1], now, ARGV[1]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {others, 0}
"""

BUSINESS: Final = """
-- KEYS calls. ARGV business (JSON), sid. Returns how many other calls of that business go on.
local going_on = 0
for _, sid in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local call = redis.call('HMGET', 'kav:call:' .. sid, 'business', 'end')
  if sid ~= ARGV[2] and call[1] == ARGV[1] and call[2] == 'null' then going_on = going_on + 1 end
end
return going_on
"""


class SharedCounts:
    """Counts kept in Redis; what `kav.call.admission.Counts` promises."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def count(self, call_sid: str, number: str, business: str) -> Counted | None:
        """Count a new call; None: nobody knows."""
        try:
            calls = self._enter(f"kav:caller:{number}", call_sid, HOUR_S, -1)[0] if number else 0
            others = self._link.script(BUSINESS, [scripts.CALLS], [json.dumps(business), call_sid]) if business else 0
        except AwayError:
            return None
        return Counted(calls, int(others))

    def place(self, ticket: str, per_minute: int) -> float | None:
        """Count a call that is to be placed; returns seconds to wait first, None: nobody knows."""
        try:
            return self._enter("kav:placed", ticket, MINUTE_S, per_minute)[1] / 1000
        except AwayError:
            return None

    def _enter(self, window: str, member: str, seconds: int, most: int) -> tuple[int, int]:
        others, wait_ms = self._link.script(ENTER, [window], [member, seconds, most, MAX_COUNTED])
        return int(others), int(wait_ms)
