-- Claims jobs: those whose lease has lapsed first, then the waiting ones, dealt to the flows in turn.
-- ARGV: lease in ms, worker, number of the first claim, how many jobs, '1' to take lapsed ones too, wake-up tokens
-- already used
-- Returns for each job: turn id, job, claim id, claim snapshot or nil, what `reserve` says of its budgets or nil. A
-- snapshot is removed by the first claim.
local claimed, number, dealt = {}, tonumber(ARGV[3]), 0

local function take(id)
  local job = redis.call('GET', job_key(id))
  if not job then return forget(id) end
  local claim = ARGV[2] .. ':' .. number
  number = number + 1
  redis.call('HSET', leases, id, claim)
  redis.call('ZADD', running, now + ARGV[1], id)
  claimed[#claimed + 1] = {id, job, claim, redis.call('HGET', snapshots, id), reserve(id)}
  redis.call('HDEL', snapshots, id)
end

local function refile(id)
  local flow, weight, since = described(id)
  file(id, flow, weight, since)
end

-- Jobs whose delay has passed. The index may be behind `waiting`.
local function file_delayed(room)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, room)) do
    redis.call('ZREM', delayed, id)
    if redis.call('ZSCORE', waiting, id) then refile(id) end
  end
end

-- The longest waiting job may be in no flow, because a process of an earlier release has enqueued or requeued it.
local function file_oldest()
  local oldest = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  if oldest[1] and now - oldest[2] > 1000 then refile(oldest[1]) end
end

-- Takes up to `room` jobs out of the flows.
local function deal(room)
  while room > 0 do
    local first = redis.call('ZRANGE', flows, 0, 0, 'WITHSCORES')
    local flow, tag = first[1], first[2]
    if not flow then return end
    local id = redis.call('ZPOPMIN', flow_key(flow))[1]
    -- An earlier release's worker may have claimed it, or history may have ended it.
    local waits = id and redis.call('ZREM', waiting, id) == 1
    if not drop_if_empty(flow) and waits then
      redis.call('ZADD', flows, tag + share(flow), flow)
    end
    if waits then
      if redis.call('EXISTS', flows) == 1 then redis.call('SET', clock, tag) end
      take(id)
      room, dealt = room - 1, dealt + 1
    end
  end
end

if ARGV[5] == '1' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', running, '-inf', now, 'LIMIT', 0, ARGV[4])) do take(id) end
end
local room = ARGV[4] - #claimed
if room > 0 then
  file_delayed(room)
  file_oldest()
  deal(room)
  if dealt < room then  -- The flows are empty. Whatever still waits is in none.
    local left = redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, room - dealt)
    for _, id in ipairs(left) do refile(id) end
    deal(#left)
  end
  for _ = ARGV[6] + 1, dealt do redis.call('LPOP', wake) end  -- Each job was enqueued with one token.
end
return claimed
