-- Counts or uncounts a request of a name, by the generic cell rate algorithm, and takes a place for its stream.
-- KEYS: the name's key. Its value: when all of the name's requests will be there again, in µs of Redis TIME.
--   Then, if a place is wanted, the sorted set of the places of all gateways; score: when a place lapses, ms of TIME.
-- ARGV: requests per minute or 0 for no limit, 1 to count a request or -1 to uncount one; then, if a place is wanted,
--   its id, how many places there are, and how long one is held unless it is renewed, in ms
-- Returns how many requests are left, in how many µs all are there again, in how many µs the next one is there, and
-- whether a place was taken. The third is 0 when the request was counted; else it must be refused, and nothing is
-- counted or taken.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function count()
  local minute, limit = 60000000, tonumber(ARGV[1])
  if limit == 0 then return 0, 0, 0 end
  local interval = minute / limit
  -- A clock that was set back must not refuse a name for longer than a minute.
  local full_at = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now), now), now + minute)
  local after = math.max(full_at + ARGV[2] * interval, now)
  local excess = after - now - minute
  -- Half an interval is more than all rounding of these numbers, which are exact to 0.25 µs.
  if excess > interval / 2 then
    after = full_at
  else
    excess = 0
    redis.call('SET', KEYS[1], string.format('%.2f', after), 'PX', math.ceil((after - now) / 1000) + 1)
  end
  return math.floor((now + minute - after) / interval + 0.5), math.ceil(after - now), math.ceil(excess)
end

local function take(key, id, limit, lease)
  local ms = math.floor(now / 1000)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', ms)
  -- Places that would outlive a lease were taken before the clock was set back. Those that are held are renewed.
  redis.call('ZREMRANGEBYSCORE', key, '(' .. ms + lease, '+inf')
  if redis.call('ZCARD', key) >= limit then return 0 end
  redis.call('ZADD', key, ms + lease, id)
  redis.call('PEXPIRE', key, lease)
  return 1
end

local left, full, retry = count()
local placed = 0
if KEYS[2] and retry == 0 then placed = take(KEYS[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])) end
return {left, full, retry, placed}
