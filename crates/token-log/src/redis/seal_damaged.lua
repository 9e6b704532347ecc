#!lua flags=allow-oom
-- Ends a stream whose entries cannot be read: appends a terminal entry behind whatever is left of them, and fences every writer.
-- KEYS: meta, entries, audience
-- ARGV: seq of the terminal entry, batch with it alone, channel of the entries, keep (ms)
local meta, entries, audience = KEYS[1], KEYS[2], KEYS[3]
local last, batch, channel, keep = unpack(ARGV)

local state = redis.call('HMGET', meta, 'v', 'tail', 'sealed')
local version, tail, sealed = unpack(state)
if not version then
  return redis.error_reply('NOTFOUND no such stream')
end
if sealed then
  return redis.error_reply('SEALED the stream is sealed')
end
if tonumber(tail or 0) + 1 ~= tonumber(last) then
  return redis.error_reply('MOVED_ON the stream ends at ' .. (tail or 'nothing') .. ' now')
end
if redis.call('TYPE', entries).ok ~= 'stream' then
  -- Gone, or a key of another kind.
  redis.call('UNLINK', entries)
end
redis.call('XADD', entries, last, 'b', batch)
-- No token of a writer is this one.
redis.call('HINCRBY', meta, 'attempt', 1)
redis.call('HSET', meta, 'writer', 'damaged', 'tail', last, 'sealed', 1)
redis.call('HDEL', meta, 'request', 'attended_until')
redis.call('PEXPIRE', meta, keep)
redis.call('PEXPIRE', entries, keep)
redis.call('UNLINK', audience)
redis.call('PUBLISH', channel, '')
return redis.status_reply('OK')
