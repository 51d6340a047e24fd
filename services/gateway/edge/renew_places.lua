-- Renews places of open streams. A place that lapsed, or was lost with Redis, is taken again: its stream is open.
-- KEYS: the sorted set of places; score: when a place lapses, ms of Redis TIME
-- ARGV: how long a place is held, in ms, then the ids of the places
local time = redis.call('TIME')
local lapses = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local rows = {}
for i = 2, #ARGV do
  rows[#rows + 1] = lapses
  rows[#rows + 1] = ARGV[i]
end
redis.call('ZADD', KEYS[1], unpack(rows))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
