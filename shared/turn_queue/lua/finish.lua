-- Puts a result into the outbox and removes the job, in one step.
-- ARGV: turn id, claim id, workspace, schema version, finished turn
-- Returns 1, also when repeated. Returns 0 when another claim holds the lease, or the job waits for one.
-- The result of a turn that history has ended is handed over too: history discards it, and erases a log that was
-- written late.
local id = ARGV[1]
if is_finished(id) then return 1 end
local holder = redis.call('HGET', leases, id)
if holder ~= ARGV[2] and (holder or redis.call('ZSCORE', waiting, id)) then return 0 end
local entry = redis.call('XADD', outbox, '*', 'turn', id, 'workspace', ARGV[3], 'v', ARGV[4], 'body', ARGV[5])
redis.call('HSET', finished, id, entry)
forget(id)
return 1
