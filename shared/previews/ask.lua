-- Appends a request unless too many wait already. The list goes by itself when no worker is there.
-- KEYS: the list. ARGV: the request, the most that may wait, how long the list is kept in ms.
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
