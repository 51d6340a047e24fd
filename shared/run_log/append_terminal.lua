-- Appends and publishes a turn's terminal frame.
--
-- KEYS: the log.
-- ARGV: keep_ms, version of the entry, the frame's id, the frame's bytes, the session's channel or nothing, the turn's id.
-- Returns 1, or 0 when the log has this id or a later one, or was erased.
if redis.call('EXISTS', 'erased:' .. KEYS[1]) == 1 then return 0 end
local added = redis.pcall('XADD', KEYS[1], ARGV[3], 'v', ARGV[2], 'f', ARGV[4])
if type(added) == 'table' and added.err then
  if string.find(added.err, 'equal or smaller') then return 0 end
  return added
end
redis.call('PUBLISH', KEYS[1], ARGV[4])
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
