-- The start of every script of the budgets, and a part of the queue's claim.
-- A counter is a hash:
--   maxTokens, maxCost    the limits; absent or '': none
--   revision              of the limits: an older one never replaces a newer one
--   tokens, cost, turns   what turns that have ended used. Costs are billionths
--   heldTokens, heldCost  the sums of the estimates of turns that run
--   h:<turn id>           such a turn's estimate, or 'counted' once its use is in the sums above
--   known                 1 when `tokens`, `cost` and `turns` are right; else history must rebuild them
--   version               counts the turns that were charged, so that a rebuild notices one that came in between
-- `lines` is a hash: turn id -> {"tokens", "cost", "counters"}, from a turn's admission until it is charged.
local lines = 'parley:budgets:lines'

-- What stands against a turn with this estimate: false (nothing), 'held' (turns that run must end first), 'used'.
-- The mean of the turns that have ended corrects an estimate that is too low.
local function verdict(counter, order)
  local c = redis.call('HMGET', counter, 'maxTokens', 'tokens', 'heldTokens', 'maxCost', 'cost', 'heldCost', 'turns')
  local turns, found = tonumber(c[7]) or 0, false
  local function judge(limit, used, held, estimate)
    limit, used, held = tonumber(limit), tonumber(used) or 0, tonumber(held) or 0
    if not limit then return end
    if used >= limit then
      found = 'used'
    elseif not found and held > 0 and used + held + math.max(estimate, turns > 0 and used / turns or 0) > limit then
      found = 'held'
    end
  end
  judge(c[1], c[2], c[3], order.tokens)
  judge(c[4], c[5], c[6], order.cost)
  return found
end

local function hold(counter, id, order)
  if redis.call('EXISTS', counter) == 0 then return end
  local turns = tonumber(redis.call('HGET', counter, 'turns')) or 0
  local function corrected(estimate, field)
    local used = tonumber(redis.call('HGET', counter, field)) or 0
    return math.ceil(math.max(estimate, turns > 0 and used / turns or 0))
  end
  local tokens, cost = corrected(order.tokens, 'tokens'), corrected(order.cost, 'cost')
  if redis.call('HSETNX', counter, 'h:' .. id, tokens .. ' ' .. cost) == 1 then
    redis.call('HINCRBY', counter, 'heldTokens', tokens)
    redis.call('HINCRBY', counter, 'heldCost', cost)
  end
end

-- Ends a turn's reservation. Returns false when there was none, 'held', or 'counted'.
local function release(counter, id)
  local held = redis.call('HGET', counter, 'h:' .. id)
  if not held then return false end
  redis.call('HDEL', counter, 'h:' .. id)
  if held == 'counted' then return held end
  local tokens, cost = held:match('^(%d+) (%d+)$')
  -- `-cost` would be the number -0 for no cost, which Redis 7 passes on as "-0", and that is no integer to HINCRBY.
  redis.call('HINCRBY', counter, 'heldTokens', 0 - tokens)
  redis.call('HINCRBY', counter, 'heldCost', 0 - cost)
  return 'held'
end

local function set_limits(counter, revision, max_tokens, max_cost, expires_at)
  if tonumber(revision) > (tonumber(redis.call('HGET', counter, 'revision')) or -1) then
    redis.call('HSET', counter, 'revision', revision, 'maxTokens', max_tokens, 'maxCost', max_cost)
  end
  redis.call('EXPIREAT', counter, expires_at)
end

-- For the claim of a turn: reserves its estimate under all of its counters, or under none. A turn that holds its
-- reservations, because its worker was lost, keeps them.
-- Returns false, 'held' (it must wait for turns that run), or 'used:' and the counter that refuses it.
local function reserve(id)
  local line = redis.call('HGET', lines, id)
  if not line then return false end
  local order, waits = cjson.decode(line), false
  for _, counter in ipairs(order.counters) do
    if redis.call('HEXISTS', counter, 'h:' .. id) == 0 then
      local found = verdict(counter, order)
      if found == 'used' then return 'used:' .. counter end
      waits = waits or found == 'held'
    end
  end
  if waits then return 'held' end
  for _, counter in ipairs(order.counters) do hold(counter, id, order) end
  return false
end
