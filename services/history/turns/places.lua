-- Takes a place in each set for a turn, or in none.
-- KEYS: sorted sets of turn ids; score: when the place lapses, ms of Redis TIME
-- ARGV: turn id, how long a place may be held in ms, then how many places each set has
-- Returns 0, or the number of the first set that has no place left. A turn that has its place keeps it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  if not redis.call('ZSCORE', key, ARGV[1]) and redis.call('ZCARD', key) >= tonumber(ARGV[i + 2]) then return i end
end
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', key, ARGV[2])
end
return 0
