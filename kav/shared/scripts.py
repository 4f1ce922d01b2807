"""What Redis does in one step for everybody, in its own language.

A call is the hash `kav:call:<CallSid>`; each field is JSON text, see `kav.shared.fields`. `kav:calls` is the set of
those that are not forgotten. Whoever changes one says so on the channel `kav:changed`. What grows with the call is in
the hash `kav:pages:<CallSid>`, which is read by whoever is to go on with the call, and by nobody else.
"""

from typing import Final

CHANNEL: Final = "kav:changed"
CALLS: Final = "kav:calls"

MERGE: Final = """
-- KEYS call, calls, pages. ARGV me, sid, how (new: tell of the call, unless somebody has), ttl, all (1: return all),
-- how many pairs are fields, then fields and values, pages and values. Returns fields and values; nothing for a call
-- that is unknown and not new.
local call, how = KEYS[1], ARGV[3]
local is_there = redis.call('EXISTS', call) == 1
if redis.call('HEXISTS', call, 'forgotten') == 1 then return {'forgotten', '1'} end
if not is_there and how ~= 'new' then return {} end
local news = false
if not (is_there and how == 'new') then
  local pages = 7 + 2 * ARGV[6]
  for i = pages, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
  for i = 7, pages - 1, 2 do
    local field, value = ARGV[i], ARGV[i + 1]
    local held = redis.call('HGET', call, field)
    local first_wins = (field == 'end' or field == 'terminal') and value ~= 'null'
    if held ~= value and not (first_wins and held and held ~= 'null') then
      redis.call('HSET', call, field, value)
      news = news or field ~= 'conversation'
    end
  end
end
redis.call('EXPIRE', call, ARGV[4])
redis.call('EXPIRE', KEYS[3], ARGV[4])
if not is_there then
  redis.call('SADD', KEYS[2], ARGV[2])
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
if news and is_there then
  local ended = redis.call('HGET', call, 'end') or 'null'
  redis.call('PUBLISH', 'kav:changed', ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ended)
end
local found = redis.call('HGETALL', call)
if ARGV[5] == '1' then return found end
local short = {}
for i = 1, #found, 2 do
  if found[i] ~= 'call' and found[i] ~= 'flow' and found[i] ~= 'conversation' then
    short[#short + 1] = found[i]
    short[#short + 1] = found[i + 1]
  end
end
return short
"""

CLAIM: Final = """
-- KEYS call. ARGV me (JSON), sid, token (JSON), me. The token was compared in constant time before; here it is used up,
-- so that of several who bring it one has the stream. Returns 1 for that one, -1 for a call that Redis does not know.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[3] or redis.call('HGET', KEYS[1], 'end') ~= 'null' then return 0 end
redis.call('HSET', KEYS[1], 'token', 'null', 'owner', ARGV[1], 'stream', ARGV[1])
redis.call('PUBLISH', 'kav:changed', ARGV[4] .. ' ' .. ARGV[2] .. ' null')
return 1
"""

LIVE: Final = """
-- KEYS process. ARGV seconds. It lives, for so long. Returns whether it was known to: else others may have its calls.
local lived = redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])
return lived
"""

TAKE_OVER: Final = """
-- KEYS calls. ARGV me (JSON). The chores of calls whose owners show no sign of life become mine. Returns which.
-- A call that streams is left alone: its process may have lost Redis alone, and if not, Twilio will say so.
local taken, lives = {}, {}
for _, sid in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local call = 'kav:call:' .. sid
  local owner = redis.pcall('HGET', call, 'owner')
  if type(owner) ~= 'string' then
    redis.call('SREM', KEYS[1], sid)
  elseif owner ~= ARGV[1] then
    if lives[owner] == nil then
      local read, process = pcall(cjson.decode, owner)
      lives[owner] = read and type(process) == 'string' and redis.call('EXISTS', 'kav:process:' .. process) == 1
    end
    local streams = redis.call('HGET', call, 'stream') ~= 'null' and redis.call('HGET', call, 'end') == 'null'
    if not lives[owner] and not streams then
      redis.call('HSET', call, 'owner', ARGV[1])
      taken[#taken + 1] = sid
    end
  end
end
return taken
"""
"""One server's keys are all in one place: a cluster of Redises would want them named."""

FORGET: Final = """
-- KEYS call, calls, pages. ARGV sid, ttl. The call is over for good; that it was is remembered for a while.
redis.call('DEL', KEYS[1], KEYS[3])
redis.call('HSET', KEYS[1], 'forgotten', '1')
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('SREM', KEYS[2], ARGV[1])
return 1
"""


def call_key(call_sid: str) -> str:
    """Return the key of a call."""
    return f"kav:call:{call_sid}"


def pages_key(call_sid: str) -> str:
    """Return the key of what grows with a call."""
    return f"kav:pages:{call_sid}"


def keys_of(call_sid: str) -> list[str]:
    """Return the keys that scripts about one call are given."""
    return [call_key(call_sid), CALLS, pages_key(call_sid)]


def process_key(process: str) -> str:
    """Return the key that a process keeps alive while it lives itself."""
    return f"kav:process:{process}"
