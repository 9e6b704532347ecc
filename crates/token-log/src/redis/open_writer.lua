#!lua
-- Opens the stream for writing as the next attempt. Every earlier writer is fenced from now on.
-- KEYS: meta, audience
-- ARGV: presence TTL (ms), whether the server was unavailable until now ('1', or ''), how long (ms) a silent owner keeps the
--       stream; 0 fences any owner
-- Returns: attempt, token of the writer, tail, reason to stop ('' for none), attempts ('' for none), and what is fixed
--          about the stream, for a writer that may have to restore it: fingerprint, created_at, start_by, end_by,
--          and ('' for none) grace, memo, request, caller
local meta, audience = KEYS[1], KEYS[2]
local every, was_away, kept = tonumber(ARGV[1]), ARGV[2] ~= '', tonumber(ARGV[3])

local state = redis.call('HMGET', meta, 'v', 'sealed', 'tail', 'cancelled', 'grace', 'heard', 'attended_until')
local version, sealed, tail, cancelled, grace, heard, attended_until = unpack(state)
local fixed = redis.call('HMGET', meta, 'fingerprint', 'created_at', 'start_by', 'end_by', 'memo', 'request',
  'attempts', 'caller')
local fingerprint, created_at, start_by, end_by, memo, request, attempts, caller = unpack(fixed)
if not version then
  return redis.error_reply('NOTFOUND no such stream')
end
if version ~= '1' then
  return redis.error_reply('FORMAT the stream has format ' .. version .. ', upgrade tokenwire')
end
if sealed then
  return redis.error_reply('SEALED the stream is sealed')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if kept > 0 and heard and now - heard < kept then
  return redis.error_reply('FENCED another writer owns the stream')
end
local attempt = redis.call('HINCRBY', meta, 'attempt', 1)
-- The number alone would not fence: a server that restarts from an older state issues it again. The time makes it unique.
local writer = attempt .. '@' .. time[1] .. '.' .. time[2]
redis.call('HSET', meta, 'writer', writer, 'heard', now)

local stop = ''
if cancelled then
  stop = 'requested'
elseif grace and redis.call('EXISTS', audience) == 0 then
  -- The key may have been evicted or deleted: until the time in the field is over, it has not expired. Older versions set only
  -- the key. If both are missing, the grace begins again.
  local whole = every + tonumber(grace)
  local left = whole
  if attended_until and not was_away and not (heard and now - heard > every) then
    left = math.min(whole, tonumber(attended_until) - now)
  end
  -- Otherwise the last writer was silent, or the server unavailable, for so long that readers may have been disconnected too:
  -- they get time to come back.
  if left > 0 then
    redis.call('SET', audience, 1, 'PX', left)
    redis.call('HSET', meta, 'attended_until', now + left)
  else
    stop = 'abandoned'
  end
end
return { attempt, writer, tonumber(tail), stop, attempts or '',
  { fingerprint, created_at, start_by, end_by, grace or '', memo or '', request or '', caller or '' } }
