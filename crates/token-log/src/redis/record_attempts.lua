#!lua flags=allow-oom
-- Notes the state of the attempts, as the writer that owns the stream.
-- KEYS: meta
-- ARGV: token of the writer, the attempts, released ('1', or '' where the writer goes on), channel of the entries ('' wakes
--       no listener)
-- Answers: a reason to stop ('' for none)
local meta = KEYS[1]
local writer, attempts, released, channel = unpack(ARGV)

-- The same as in `append.lua`.
local state = redis.call('HMGET', meta, 'writer', 'attempt', 'sealed')
local owner, newest, sealed = unpack(state)
if owner ~= writer then
  if not newest then
    return redis.error_reply('NOTFOUND no such stream')
  end
  local attempt = string.match(writer, '^%d+')
  if tonumber(newest) < tonumber(attempt) then
    return redis.error_reply('LOST the server has forgotten attempt ' .. attempt .. ' of this stream: it lost data')
  end
  return redis.error_reply('FENCED a newer attempt owns the stream')
end
if sealed then
  return redis.error_reply('SEALED the stream is sealed')
end

redis.call('HSET', meta, 'attempts', attempts)
if released ~= '' then
  -- The next writer need not wait until this one is silent.
  redis.call('HDEL', meta, 'heard')
else
  local time = redis.call('TIME')
  redis.call('HSET', meta, 'heard', time[1] * 1000 + math.floor(time[2] / 1000))
end
if channel ~= '' then
  redis.call('PUBLISH', channel, '')
end
return redis.call('HEXISTS', meta, 'cancelled') == 1 and 'requested' or ''
