-- Removes an outbox entry that has been dealt with.
-- ARGV: consumer group, entry id, turn id
-- Returns 1. The turn's marker in `finished` goes only with the entry that set it.
redis.call('XACK', outbox, ARGV[1], ARGV[2])
redis.call('XDEL', outbox, ARGV[2])
if redis.call('HGET', finished, ARGV[3]) == ARGV[2] then redis.call('HDEL', finished, ARGV[3]) end
return 1
