-- Adds a job, unless the turn has one or its result is in the outbox.
-- ARGV: turn id, job, claim snapshot or ''
-- Returns the number of jobs that wait before it.
local id = ARGV[1]
if not has_job(id) and not is_finished(id) then
  redis.call('SET', job_key(id), ARGV[2])
  if ARGV[3] ~= '' then redis.call('HSET', snapshots, id, ARGV[3]) end
  redis.call('ZADD', waiting, now, id)
  wake_one()
end
return redis.call('ZRANK', waiting, id) or 0
