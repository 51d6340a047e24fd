-- ARGV: turn id
-- Returns the claim id that holds the turn's lease, or nil when there is none or it has lapsed.
local ends = redis.call('ZSCORE', running, ARGV[1])
if ends and tonumber(ends) > now then return redis.call('HGET', leases, ARGV[1]) end
return false
