-- Returns the number of waiting jobs, and for how long the oldest has waited in ms.
local oldest = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
return {redis.call('ZCARD', waiting), oldest[2] and math.max(0, now - oldest[2]) or 0}
