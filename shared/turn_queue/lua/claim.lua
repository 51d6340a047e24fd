-- Claims jobs: those whose lease has lapsed first, then the oldest waiting ones.
-- ARGV: lease in ms, worker, number of the first claim, how many jobs, '1' to take lapsed ones too, wake-up tokens
-- already used
-- Returns for each job: turn id, job, claim id, claim snapshot or nil. A snapshot is removed by the first claim.
local claimed, number = {}, tonumber(ARGV[3])

local function take(id)
  local job = redis.call('GET', job_key(id))
  if not job then return forget(id) end
  local claim = ARGV[2] .. ':' .. number
  number = number + 1
  redis.call('HSET', leases, id, claim)
  redis.call('ZADD', running, now + ARGV[1], id)
  claimed[#claimed + 1] = {id, job, claim, redis.call('HGET', snapshots, id)}
  redis.call('HDEL', snapshots, id)
end

if ARGV[5] == '1' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', running, '-inf', now, 'LIMIT', 0, ARGV[4])) do take(id) end
end
local room = ARGV[4] - #claimed
if room > 0 then
  local due = redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'WITHSCORES', 'LIMIT', 0, room)
  for i = 1, #due, 2 do
    redis.call('ZREM', waiting, due[i])
    redis.call('HSET', enqueued_at, due[i], due[i + 1])
    take(due[i])
  end
  for _ = ARGV[6] + 1, #due / 2 do redis.call('LPOP', wake) end  -- Each job was enqueued with one token.
end
return claimed
