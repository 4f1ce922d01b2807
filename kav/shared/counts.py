"""What all processes count together: who has called within the hour, what was placed within the minute, who is busy.

Each count is asked for and changed in one step of Redis's, so that of two who come at once for the last place one has
it. While Redis is away nobody knows of the others: None.
"""

import json
import logging
from typing import Final

from kav.call.admission import Counted, Limits, Newcomer
from kav.shared import scripts
from kav.shared.link import Link, UnansweredError

HOUR_S: Final = 3600
MINUTE_S: Final = 60

ENTER: Final = """
-- KEYS window, members by the moment that they came. ARGV member, seconds, most. Counts the member if fewer than so
-- many others came within those seconds. Returns the milliseconds until one more may, 0 for one that is counted.
local clock, most = redis.call('TIME'), tonumber(ARGV[3])
local now = clock[1] + clock[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local others = redis.call('ZCARD', KEYS[1])
if others >= most then
  local leaves = redis.call('ZRANGE', KEYS[1], others - most, others - most, 'WITHSCORES')[2]
  return math.ceil((leaves + ARGV[2] - now) * 1000)
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 0
"""

ADMIT: Final = """
-- KEYS call, calls, the caller's window. ARGV sid, business (JSON), its most calls, the caller's most within those
-- seconds, seconds; 0 is no limit. Lets the call in if there is room. Returns how many others of that caller came, and
-- how many of that business go on; nobody for a call that has its place.
local business, most, caller_most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local call = redis.call('HMGET', KEYS[1], 'admitted', 'end')
if call[1] == 'true' then return {0, 0} end
local clock, came, going_on = redis.call('TIME'), 0, 0
local now = clock[1] + clock[2] / 1000000
if caller_most > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[5])
  came = redis.call('ZCARD', KEYS[3]) - (redis.call('ZSCORE', KEYS[3], ARGV[1]) and 1 or 0)
end
if most > 0 then
  for _, sid in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    local other = redis.pcall('HMGET', 'kav:call:' .. sid, 'business', 'end', 'admitted')
    if other[1] == business and other[2] == 'null' and other[3] == 'true' then going_on = going_on + 1 end
  end
end
if (caller_most > 0 and came >= caller_most) or (most > 0 and going_on >= most) then return {came, going_on} end
if call[2] == 'null' then redis.call('HSET', KEYS[1], 'admitted', 'true') end
if caller_most > 0 then
  redis.call('ZADD', KEYS[3], now, ARGV[1])
  redis.call('EXPIRE', KEYS[3], ARGV[5])
end
return {came, going_on}
"""

WITHDRAW: Final = """
-- KEYS call, the caller's window. ARGV sid. The call's place is free again.
redis.call('HDEL', KEYS[1], 'admitted')
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""

log = logging.getLogger(__name__)


class SharedCounts:
    """Counts kept in Redis; what `kav.call.admission.Counts` promises."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def admit(self, newcomer: Newcomer, limits: Limits) -> Counted | None:
        """Let a call in and count it, in one step, unless a limit of its caller's or its business's is reached."""
        sid, number, business = newcomer
        most = limits.business_calls if business else 0
        caller_most = limits.caller_calls if number else 0
        keys = [scripts.call_key(sid), scripts.CALLS, _caller_key(number)]
        try:
            came, going_on = self._link.script(ADMIT, keys, [sid, json.dumps(business), most, caller_most, HOUR_S])
        except UnansweredError:
            return None
        return Counted(int(came), int(going_on))

    def withdraw(self, newcomer: Newcomer) -> None:
        """Count a call no longer that was let in, and then turned away for another reason."""
        keys = [scripts.call_key(newcomer.call_sid), _caller_key(newcomer.number)]
        try:
            self._link.script(WITHDRAW, keys, [newcomer.call_sid])
        except UnansweredError:
            log.warning("a call is counted that was turned away", extra={"call_sid": newcomer.call_sid})

    def place(self, ticket: str, per_minute: int) -> float | None:
        """Count a call that is to be placed; returns seconds to wait first, None: nobody knows."""
        try:
            return int(self._link.script(ENTER, ["kav:placed"], [ticket, MINUTE_S, per_minute])) / 1000
        except UnansweredError:
            return None


def _caller_key(number: str) -> str:
    return f"kav:caller:{number}"
