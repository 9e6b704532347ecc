#!lua flags=allow-oom
-- Says that somebody reads the stream now.
-- KEYS: meta, audience
-- ARGV: how often a reader attends (ms); the audience stays for that and then for the stream's grace
local meta, audience, every = KEYS[1], KEYS[2], ARGV[1]

local state = redis.call('HMGET', meta, 'grace', 'sealed')
local grace, sealed = unpack(state)
if grace and not sealed then
  redis.call('SET', audience, 1, 'PX', tonumber(every) + tonumber(grace))
end
return redis.status_reply('OK')
