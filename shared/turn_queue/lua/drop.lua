-- Removes the job, if the claim holds its lease.
-- ARGV: turn id, claim id
-- Returns 1.
if redis.call('HGET', leases, ARGV[1]) == ARGV[2] then forget(ARGV[1]) end
return 1
