-- Deletes a log and refuses its writers from now on.
--
-- KEYS: the log.
-- ARGV: how long a writer of this log may still exist, in ms.
-- Returns 1, or 0 when there was no log.
local found = redis.call('DEL', KEYS[1])
redis.call('SET', 'erased:' .. KEYS[1], '', 'PX', ARGV[1])
return found
