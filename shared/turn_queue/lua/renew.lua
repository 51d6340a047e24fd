-- Extends leases.
-- ARGV: lease in ms, then turn id and claim id of each lease
-- Returns the turn ids whose lease the claim does not hold.
local lost = {}
for i = 2, #ARGV, 2 do
  if redis.call('HGET', leases, ARGV[i]) == ARGV[i + 1] then
    redis.call('ZADD', running, now + ARGV[1], ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
