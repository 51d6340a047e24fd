-- Checks a turn's counters, and notes the turn for its claim unless one of them is used up.
-- ARGV: turn id, its line, mode ('ask': refuse; 'note': note it whatever is used; 'hold': and reserve at once), then for
-- each counter: name, revision, maximum of tokens or '', maximum of cost or '', expiry in seconds since 1970
-- Returns the counter that refuses or nil, and for each counter 1 if it is known, else 0.
local id, order, refuses, states = ARGV[1], cjson.decode(ARGV[2]), false, {}
for i = 4, #ARGV, 5 do
  local counter = ARGV[i]
  set_limits(counter, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  states[#states + 1] = redis.call('HGET', counter, 'known') == '1' and 1 or 0
  if not refuses and ARGV[3] == 'ask' and verdict(counter, order) == 'used' then refuses = counter end
end
if not refuses then
  redis.call('HSET', lines, id, ARGV[2])
  if ARGV[3] == 'hold' then
    for _, counter in ipairs(order.counters) do hold(counter, id, order) end
  end
end
return {refuses, states}
