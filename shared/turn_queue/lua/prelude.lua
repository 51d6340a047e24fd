-- The start of every script of the turn queue. All of them get the same keys in the same order, from `keys.py`.
--   waiting      sorted set of turn ids; score: not before this time, ms
--   running      sorted set of turn ids; score: the end of the lease, ms
--   leases       hash: turn id -> the claim id that holds the lease
--   enqueued_at  hash: running turn id -> its first score in `waiting`, so that a requeued turn keeps its position
--   finished     hash: turn id -> the id of its outbox entry
--   wake         list of wake-up tokens, one for each waiting job
--   snapshots    hash: turn id -> claim snapshot, until the first claim
--   outbox       stream of finished turns
--   dead         list of jobs that no worker could decode, newest first
-- All times are Redis TIME in milliseconds.
local waiting, running, leases, enqueued_at, finished, wake, snapshots, outbox, dead = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function job_key(id) return 'arq:job:' .. id end

-- Exists for a while after history has ended a turn: nobody may hold the turn again.
local function ended_key(id) return waiting .. ':ended:' .. id end

local function wake_one()
  redis.call('LPUSH', wake, '')
  redis.call('LTRIM', wake, 0, 999)
end

local function forget(id)
  redis.call('ZREM', waiting, id)
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
