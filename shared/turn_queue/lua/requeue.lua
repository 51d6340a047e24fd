-- Lets another claim have the job: at once and as the next one, or after a delay.
-- ARGV: turn id, claim id, delay in ms
-- Returns 1, or 0 when the claim does not hold the lease.
local id = ARGV[1]
if redis.call('HGET', leases, id) ~= ARGV[2] then return 0 end
redis.call('ZREM', running, id)
redis.call('HDEL', leases, id)
redis.call('HDEL', enqueued_at, id)
if ARGV[3] == '0' then
  local flow, weight, since = described(id)
  redis.call('ZADD', waiting, since, id)
  file(id, flow, weight, since)
  -- It was dealt before, so this time it costs its flow nothing.
  redis.call('ZADD', flows, 'LT', redis.call('GET', clock) or 0, flow)
  wake_one()
else
  redis.call('ZADD', waiting, now + ARGV[3], id)
  redis.call('ZADD', delayed, now + ARGV[3], id)
end
return 1
