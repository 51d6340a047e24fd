-- Adds a job, unless the turn has one or its result is in the outbox.
-- ARGV: turn id, job, claim snapshot or '', flow, weight, since when it waits in ms or '0'
-- Returns the number of jobs that wait before it.
local id, flow, since = ARGV[1], ARGV[4], tonumber(ARGV[6])
if not has_job(id) and not is_finished(id) then
  since = since > 0 and math.min(since, now) or now
  redis.call('SET', job_key(id), ARGV[2])
  if ARGV[3] ~= '' then redis.call('HSET', snapshots, id, ARGV[3]) end
  redis.call('ZADD', waiting, since, id)
  file(id, flow, tonumber(ARGV[5]), since)
  wake_one()
end
return before(id, flow)
