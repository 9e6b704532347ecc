#!lua flags=allow-oom
-- Records that a reader is present.
-- KEYS: meta, audience
-- ARGV: presence TTL (ms); the stream's grace is added
local meta, audience, every = KEYS[1], KEYS[2], ARGV[1]

local state = redis.call('HMGET', meta, 'grace', 'sealed')
local grace, sealed = unpack(state)
if grace and not sealed then
  local there = tonumber(every) + tonumber(grace)
  local time = redis.call('TIME')
  redis.call('SET', audience, 1, 'PX', there)
  -- If the key was evicted or deleted, this field shows that readers have not left.
  redis.call('HSET', meta, 'attended_until', time[1] * 1000 + math.floor(time[2] / 1000) + there)
end
return redis.status_reply('OK')
