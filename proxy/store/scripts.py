"""Lua scripts that Redis runs atomically.

Each script is idempotent, because a connection may break before its response arrives. A script whose reply matters
returns the claim's key first: a reply to another call is recognised.
"""

from hashlib import sha1

CLAIM = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then
  return {KEYS[1], found, redis.call('PTTL', KEYS[2]), redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], '', 'PX', ARGV[3])
return {KEYS[1], false, 0, 0}
"""
TAKE_OVER = """
local found = redis.call('GET', KEYS[1])
if found == ARGV[1] then return {KEYS[1], 1} end
if found ~= ARGV[4] or redis.call('EXISTS', KEYS[2]) == 1 then return {KEYS[1], 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], '', 'PX', ARGV[3])
return {KEYS[1], 1}
"""
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[2], '', 'PX', ARGV[2]) end
"""
# The claim is kept (ARGV[2]) or freed if it is still this process's; waiters read the outcome (ARGV[4]).
SETTLE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
  redis.call('DEL', KEYS[2])
end
if ARGV[4] ~= '' then redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5]) end
redis.call('PUBLISH', ARGV[6], ARGV[7])
"""
# A mark begins with the end of its own name, as `packing.mark_name` has it.
INVALIDATE = """
for _, mark in ipairs(KEYS) do
  redis.call('SET', mark, string.match(mark, '[^:]*:[^:]*$') .. '=' .. ARGV[1], 'PX', ARGV[2])
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
"""
# Replace the value of a name that still has the value ARGV[1] by ARGV[2], and keep its lifetime.
ERASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', math.max(1, redis.call('PTTL', KEYS[1])))
end
"""
ALL = (CLAIM, TAKE_OVER, RENEW, SETTLE, INVALIDATE, ERASE)


def sha_of(script: str) -> str:
    """Return the SHA-1 by which Redis runs a loaded script."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


SHA = {script: sha_of(script) for script in ALL}


def call(script: str, keys: list[str], *arguments: bytes | str | int) -> tuple[bytes | str | int, ...]:
    """Return the command that runs a loaded script."""
    return "EVALSHA", SHA[script], len(keys), *keys, *arguments
