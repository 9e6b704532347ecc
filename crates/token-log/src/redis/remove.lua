#!lua flags=allow-oom
-- Removes a stream and tells its readers to read. If an attempt has opened it, leaves a mark for its writer, which could
-- restore it otherwise, for as long as the stream would have been kept.
-- KEYS: meta, entries, audience, removed
-- ARGV: channel of the entries
local meta, entries, audience, removed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local channel = ARGV[1]

-- A key of another type goes too.
local state = {}
if redis.call('TYPE', meta).ok == 'hash' then
  state = redis.call('HMGET', meta, 'attempt', 'created_at')
end
local attempt, created_at = unpack(state)
if attempt and tonumber(attempt) > 0 then
  -- The id may have been removed before: the mark counts for all earlier streams of the id.
  local latest = math.max(tonumber(created_at), tonumber(redis.call('GET', removed) or 0))
  redis.call('SET', removed, string.format('%.0f', latest), 'PX', math.max(redis.call('PTTL', meta), 60000))
end
redis.call('UNLINK', meta, entries, audience)
redis.call('PUBLISH', channel, '')
return redis.status_reply('OK')
