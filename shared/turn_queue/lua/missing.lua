-- ARGV: turn ids
-- Returns those that have neither a job nor an outbox entry.
local out = {}
for _, id in ipairs(ARGV) do
  if not has_job(id) and not is_finished(id) then out[#out + 1] = id end
end
return out
