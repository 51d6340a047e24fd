-- Removes the job of a turn that history has ended. Marks the turn as ended, so that the worker that ran it cannot
-- restore its lease.
-- ARGV: turn id, how long the mark is kept in ms
-- Returns 1.
forget(ARGV[1])
redis.call('SET', ended_key(ARGV[1]), '', 'PX', ARGV[2])
return 1
