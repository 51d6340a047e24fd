-- ARGV: turn id
-- Returns the number of jobs that wait before the turn's, or nil when it does not wait.
if not redis.call('ZSCORE', waiting, ARGV[1]) then return false end
return before(ARGV[1], (described(ARGV[1])))
