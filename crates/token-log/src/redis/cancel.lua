#!lua flags=allow-oom
-- Tells the writer, now or when one opens, to stop.
-- KEYS: meta
-- ARGV: channel of the writer
local meta, channel = KEYS[1], ARGV[1]

local state = redis.call('HMGET', meta, 'attempt', 'sealed')
local attempt, sealed = unpack(state)
if not attempt then
  return redis.error_reply('NOTFOUND no such stream')
end
if not sealed then
  redis.call('HSET', meta, 'cancelled', 1)
  redis.call('PUBLISH', channel, '')
end
return redis.status_reply('OK')
