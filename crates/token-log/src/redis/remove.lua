#!lua flags=allow-oom
-- Forgets a stream. If an attempt has opened it, leaves word for its writer, who could take it for lost and write it again:
-- for as long as the stream would have been kept.
-- KEYS: meta, entries, audience, removed
local meta, entries, audience, removed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local state = redis.call('HMGET', meta, 'attempt', 'created_at')
local attempt, created_at = unpack(state)
if attempt and tonumber(attempt) > 0 then
  redis.call('SET', removed, created_at, 'PX', math.max(redis.call('PTTL', meta), 60000))
end
redis.call('UNLINK', meta, entries, audience)
return redis.status_reply('OK')
