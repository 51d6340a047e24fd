-- Ends a turn's reservations, and counts what it has used where it held one.
-- ARGV: turn id, 'end' or 'doubt' (its use may be counted already), tokens, cost, then the counters of its end
-- Returns 1. A counter that cannot tell whether it has the turn is marked: history rebuilds it.
local id = ARGV[1]
local line, ended = redis.call('HGET', lines, id), {}
redis.call('HDEL', lines, id)
local function charge(counter)
  redis.call('HINCRBY', counter, 'version', 1)
  local was = release(counter, id)
  if was == 'held' and ARGV[2] == 'end' then
    redis.call('HINCRBY', counter, 'tokens', ARGV[3])
    redis.call('HINCRBY', counter, 'cost', ARGV[4])
    redis.call('HINCRBY', counter, 'turns', 1)
  elseif was ~= 'counted' then
    redis.call('HSET', counter, 'known', 0)
  end
  if redis.call('TTL', counter) == -1 then redis.call('EXPIRE', counter, 90000) end
end
for i = 5, #ARGV do
  ended[ARGV[i]] = true
  charge(ARGV[i])
end
if line then
  for _, counter in ipairs(cjson.decode(line).counters) do
    -- A counter of the period of its admission, or of a budget that was removed.
    if not ended[counter] and redis.call('EXISTS', counter) == 1 then
      redis.call('HINCRBY', counter, 'version', 1)
      if release(counter, id) then redis.call('HSET', counter, 'known', 0) end
    end
  end
end
return 1
