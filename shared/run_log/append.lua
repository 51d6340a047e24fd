-- Appends frames to the logs of their turns and publishes them, for many turns in one call.
--
-- KEYS: for each frame, the log that it belongs to.
-- ARGV: ttl_ms, version of the entries, then for each frame its attempt, its seq and its bytes.
-- Returns for each frame: 'ok'; 'fenced' (a later attempt owns the turn, or the turn was erased); the seq that the log
-- has of this attempt, when that is not the seq before this frame's; or an error, which concerns that frame alone.
--
-- The script compares the tail itself instead of relying on XADD's refusal, because it must also notice that an earlier
-- frame is missing. A log without a tail is new, or was flushed, or was erased; only in the last case is its writer
-- refused.
local function append(log, attempt_text, seq_text, frame)
  local tail = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  if not tail[1] and redis.call('EXISTS', 'erased:' .. log) == 1 then return 'fenced' end
  local attempt, seq, mine, next = 0, 0, tonumber(attempt_text), tonumber(seq_text)
  if tail[1] then
    local a, s = string.match(tail[1][1], '(%d+)-(%d+)')
    attempt, seq = tonumber(a), tonumber(s)
  end
  if attempt > mine then return 'fenced' end
  local had = attempt == mine and seq or 0
  if had ~= next - 1 then return had end
  local id = attempt_text .. '-' .. seq_text
  redis.call('XADD', log, id, 'v', ARGV[2], 'f', frame)
  redis.call('PUBLISH', log, frame)
  redis.call('PEXPIRE', log, ARGV[1])
  return 'ok'
end

local answers = {}
for i, log in ipairs(KEYS) do
  local done, answer = pcall(append, log, ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2])
  if not done and type(answer) ~= 'table' then answer = {err = tostring(answer)} end
  answers[i] = answer
end
return answers
