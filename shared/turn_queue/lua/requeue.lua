-- Lets another claim have the job: at once and in its old position, or after a delay.
-- ARGV: turn id, claim id, delay in ms
-- Returns 1, or 0 when the claim does not hold the lease.
local id = ARGV[1]
if redis.call('HGET', leases, id) ~= ARGV[2] then return 0 end
local first = redis.call('HGET', enqueued_at, id) or now
redis.call('ZREM', running, id)
redis.call('HDEL', leases, id)
redis.call('HDEL', enqueued_at, id)
if ARGV[3] == '0' then
  redis.call('ZADD', waiting, first, id)
  wake_one()
else
  redis.call('ZADD', waiting, now + ARGV[3], id)
end
return 1
