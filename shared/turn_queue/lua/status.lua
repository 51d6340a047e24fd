-- ARGV: turn id
-- Returns 'finished' (its result is in the outbox), 'held' (its lease has not lapsed) or 'alone'.
if is_finished(ARGV[1]) then return 'finished' end
local ends = redis.call('ZSCORE', running, ARGV[1])
if ends and tonumber(ends) > now then return 'held' end
return 'alone'
