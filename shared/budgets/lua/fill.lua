-- Replaces what a counter says of ended turns by what their documents say.
-- ARGV: counter, version before the documents were read, tokens, cost, turns, revision, maximum of tokens or '', maximum
-- of cost or '', expiry in seconds since 1970, then ids of turns that the sums have and that may still be held
-- Returns 1, or 0 when a turn was charged in between: then the sums may lack it.
local counter = ARGV[1]
set_limits(counter, ARGV[6], ARGV[7], ARGV[8], ARGV[9])
if (redis.call('HGET', counter, 'version') or '') ~= ARGV[2] then return 0 end
redis.call('HSET', counter, 'tokens', ARGV[3], 'cost', ARGV[4], 'turns', ARGV[5], 'known', 1)
for i = 10, #ARGV do
  if release(counter, ARGV[i]) then redis.call('HSET', counter, 'h:' .. ARGV[i], 'counted') end
end
return 1
