#!lua
-- Opens the write side as the next attempt. From here on every earlier writer is fenced.
-- KEYS: meta, audience
-- ARGV: how often a reader attends (ms), whether the server was away until just now ('1', or ''), for how long (ms) an owner
--       that is silent keeps the stream; 0 deposes any
-- Answers: attempt, token of the writer, tail, reason to stop ('' for none), attempts ('' for none), and what is fixed
--          about the stream, for a writer that may have to write it again: fingerprint, created_at, start_by, end_by,
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
-- The number alone would not fence: a server that restarts from an older state issues it again. Its clock tells them apart.
local writer = attempt .. '@' .. time[1] .. '.' .. time[2]
redis.call('HSET', meta, 'writer', writer, 'heard', now)

local stop = ''
if cancelled then
  stop = 'requested'
elseif grace and redis.call('EXISTS', audience) == 0 then
  -- The key alone may have been evicted or deleted: while the time in the field is not over, it is lost and not out of date.
  -- Versions that do not know the field keep the key alone. Where both are missing, the grace begins anew.
  local whole = every + tonumber(grace)
  local left = whole
  if attended_until and not was_away and not (heard and now - heard > every) then
    left = math.min(whole, tonumber(attended_until) - now)
  end
  -- Otherwise the last writer was silent, or the server away, for so long that readers may have been kept away too: they get
  -- the time to come back.
  if left > 0 then
    redis.call('SET', audience, 1, 'PX', left)
    redis.call('HSET', meta, 'attended_until', now + left)
  else
    stop = 'abandoned'
  end
end
return { attempt, writer, tonumber(tail), stop, attempts or '',
  { fingerprint, created_at, start_by, end_by, grace or '', memo or '', request or '', caller or '' } }
