#!lua flags=allow-oom
-- Says that somebody reads the stream now.
-- KEYS: meta, audience
-- ARGV: how often a reader attends (ms); the audience stays for that and then for the stream's grace
local meta, audience, every = KEYS[1], KEYS[2], ARGV[1]

local state = redis.call('HMGET', meta, 'grace', 'sealed')
local grace, sealed = unpack(state)
if grace and not sealed then
  local there = tonumber(every) + tonumber(grace)
  local time = redis.call('TIME')
  redis.call('SET', audience, 1, 'PX', there)
  -- Should the key be evicted or deleted, this tells that from an audience that has gone.
  redis.call('HSET', meta, 'attended_until', time[1] * 1000 + math.floor(time[2] / 1000) + there)
end
return redis.status_reply('OK')
