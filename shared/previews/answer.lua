-- Answers a request. An answer that nobody takes goes by itself.
-- KEYS: the reply's list. ARGV: the reply, how long it is kept in ms.
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
