-- Moves a job that its claim could not decode to the dead letters, and tells history by an outbox entry without a
-- result.
-- ARGV: turn id, claim id, dead letter, how many dead letters are kept, schema version
-- Returns 1, or 0 when another claim holds the lease.
local id = ARGV[1]
if redis.call('HGET', leases, id) ~= ARGV[2] then return 0 end
redis.call('LPUSH', dead, ARGV[3])
redis.call('LTRIM', dead, 0, ARGV[4] - 1)
if not is_finished(id) then
  local entry = redis.call('XADD', outbox, '*', 'turn', id, 'workspace', '', 'v', ARGV[5], 'body', '')
  redis.call('HSET', finished, id, entry)
end
forget(id)
return 1
