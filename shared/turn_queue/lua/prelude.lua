-- The start of every script of the turn queue. All of them get the same keys in the same order, from `keys.py`.
--   waiting      sorted set of turn ids; score: since when it waits, or not before which time, ms
--   running      sorted set of turn ids; score: the end of the lease, ms
--   leases       hash: turn id -> the claim id that holds the lease
--   enqueued_at  hash that only workers of earlier releases write; `forget` cleans up behind them
--   finished     hash: turn id -> the id of its outbox entry
--   wake         list of wake-up tokens, one for each waiting job
--   snapshots    hash: turn id -> claim snapshot, until the first claim
--   outbox       stream of finished turns
--   dead         list of jobs that no worker could decode, newest first
--   delayed      sorted set of turn ids that wait for a time; score: that time, ms
--   flows        sorted set of the flows with filed jobs; score: the tag of the flow's next job
--   weights      hash: flow -> its weight, if that is not 1
--   clock        the tag of the job that was dealt last; absent while no job is filed
-- Each flow also has a sorted set of its filed turn ids; score: since when they wait, ms.
-- `waiting` says whether a job waits. `delayed` and the flows are indexes that say who is next; processes of releases
-- before them change `waiting` alone, so each entry of an index is checked against it, and what no index has is filed
-- again.
-- All times are Redis TIME in milliseconds.
local waiting, running, leases, enqueued_at, finished, wake, snapshots, outbox, dead, delayed, flows, weights, clock =
  unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function job_key(id) return 'arq:job:' .. id end

local function flow_key(flow) return waiting .. ':flow:' .. flow end

-- Exists for a while after history has ended a turn: nobody may hold the turn again.
local function ended_key(id) return waiting .. ':ended:' .. id end

local function wake_one()
  redis.call('LPUSH', wake, '')
  redis.call('LTRIM', wake, 0, 999)
end

-- The flow, the weight and the time of enqueueing that the job itself names. A job of an earlier release, or one that
-- cannot be decoded, has the default flow, and arq's time of enqueueing (`et`).
local function described(id)
  local readable, job = pcall(cjson.decode, redis.call('GET', job_key(id)) or '')
  if not readable or type(job) ~= 'table' then return 'default', 1, now end
  local named = type(job.k) == 'table' and job.k or {}
  local flow, weight, since = named.flow, named.weight, tonumber(named.enqueued_at) or 0
  if since <= 0 then since = tonumber(job.et) or now end
  return type(flow) == 'string' and flow ~= '' and flow or 'default', tonumber(weight) or 1, math.min(since, now)
end

-- Jobs are dealt in the order of tags (self-clocked fair queueing). Only the next job of a flow has a tag: one share
-- after the tag that was dealt last. So a flow that comes back has no advantage, and nothing is kept of an empty one.
-- 720720 is a multiple of all weights up to 16.
local function share(flow)
  return math.floor(720720 / (redis.call('HGET', weights, flow) or 1))
end

-- Puts a waiting job into its flow.
local function file(id, flow, weight, since)
  weight = math.max(1, weight)
  redis.call('ZADD', flow_key(flow), since, id)
  if weight == 1 then redis.call('HDEL', weights, flow) else redis.call('HSET', weights, flow, weight) end
  if not redis.call('ZSCORE', flows, flow) then
    redis.call('ZADD', flows, (redis.call('GET', clock) or 0) + share(flow), flow)
  end
end

local function drop_if_empty(flow)
  if redis.call('EXISTS', flow_key(flow)) == 1 then return false end
  redis.call('ZREM', flows, flow)
  redis.call('HDEL', weights, flow)
  if redis.call('EXISTS', flows) == 0 then redis.call('DEL', clock) end
  return true
end

-- Makes the job wait no longer, and takes it out of the indexes.
local function stop_waiting(id)
  if redis.call('ZREM', waiting, id) == 0 then return end
  local flow = described(id)
  redis.call('ZREM', delayed, id)
  redis.call('ZREM', flow_key(flow), id)
  drop_if_empty(flow)
end

-- How many jobs are dealt before the waiting one, if all flows have the same weight. At most this many, if the others
-- have no fewer jobs.
local function before(id, flow)
  local rank = redis.call('ZRANK', flow_key(flow), id)
  if not rank then return redis.call('ZRANK', waiting, id) or 0 end
  local others = redis.call('ZCARD', waiting) - redis.call('ZCARD', flow_key(flow))
  return rank + math.min(others, (rank + 1) * (redis.call('ZCARD', flows) - 1))
end

local function forget(id)
  stop_waiting(id)
  redis.call('ZREM', running, id)
  redis.call('HDEL', leases, id)
  redis.call('HDEL', enqueued_at, id)
  redis.call('HDEL', snapshots, id)
  redis.call('DEL', job_key(id))
end

local function has_job(id)
  return redis.call('ZSCORE', running, id) or redis.call('ZSCORE', waiting, id)
end

local function is_finished(id)
  return redis.call('HEXISTS', finished, id) == 1
end
