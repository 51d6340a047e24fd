-- Gives a lease and its job back to the claim that had it, after a flush has removed both.
-- ARGV: lease in ms, turn id, claim id, job
-- Returns 1 when the claim holds the lease again. Returns 0 when another claim holds it, or the turn has finished or
-- was ended.
local id = ARGV[2]
local holder = redis.call('HGET', leases, id)
if holder and holder ~= ARGV[3] or is_finished(id) or redis.call('EXISTS', ended_key(id)) == 1 then return 0 end
stop_waiting(id)
redis.call('SET', job_key(id), ARGV[4])
redis.call('HSET', leases, id, ARGV[3])
redis.call('ZADD', running, now + ARGV[1], id)
return 1
