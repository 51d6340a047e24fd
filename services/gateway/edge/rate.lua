-- Counts or uncounts a request of a name, by the generic cell rate algorithm.
-- KEYS: the name's key. Its value: when all of the name's requests will be there again, in µs of Redis TIME.
-- ARGV: requests per minute, 1 to count a request or -1 to uncount one
-- Returns how many requests are left, in how many µs all are there again, and in how many µs the next one is there.
-- The last is 0 when the request was counted; else it must be refused, and nothing is counted.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local minute, limit = 60000000, tonumber(ARGV[1])
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
return {math.floor((now + minute - after) / interval + 0.5), math.ceil(after - now), math.ceil(excess)}
