#!lua
-- Restores a stream that the server has lost, completely or from some entry on, from the memory of its writer. The batches
-- are staged under a key of their own: this shows all of them at once, or nothing.
-- KEYS: meta, entries, audience, removed, staged
-- ARGV: token of the writer, attempt, tail, how many batches are staged, fingerprint, created_at, start_by, end_by,
--       grace (ms, or '' when detached), cancelled ('1', or ''), keep (ms), presence TTL (ms),
--       channel of the entries, memo ('' for none), request ('' for none), attempts,
--       caller ('' when anonymous)
local meta, entries, audience, removed, staged = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local writer, attempt, tail, batches, fingerprint, created_at, start_by, end_by, grace, cancelled, keep, every, channel,
  memo, request, attempts, caller = unpack(ARGV)

local until_then = redis.call('GET', removed)
if until_then and tonumber(created_at) <= tonumber(until_then) then
  return redis.error_reply('NOTFOUND the stream was removed')
end
-- A key of another type holds nothing of the stream.
local state = {}
if redis.call('TYPE', meta).ok == 'hash' then
  state = redis.call('HMGET', meta, 'fingerprint', 'created_at', 'attempt', 'writer', 'sealed')
end
local of, since, newest, owner, sealed = unpack(state)
if of then
  if of ~= fingerprint or since ~= created_at then
    return redis.error_reply('NOTFOUND another stream has this id now')
  end
  if owner ~= writer and tonumber(newest) >= tonumber(attempt) then
    return redis.error_reply('FENCED a newer attempt owns the stream')
  end
  if sealed then
    return redis.error_reply('SEALED the stream is sealed')
  end
  -- Rolled back: the rest has to be the beginning of the staged stream. If another attempt continued it, the stream belongs to
  -- that attempt, whatever its number: readers have its entries.
  local last = nil
  if redis.call('TYPE', entries).ok == 'stream' then
    last = redis.call('XREVRANGE', entries, '+', '-', 'COUNT', 1)[1]
  end
  if last then
    local same = redis.call('XRANGE', staged, last[1], last[1])[1]
    if not same or same[2][2] ~= last[2][2] then
      return redis.error_reply('FENCED another attempt went on with what the server had left')
    end
  end
end
if redis.call('XLEN', staged) ~= tonumber(batches) then
  return redis.error_reply('UNSTAGED not all of the stream has arrived')
end

if redis.call('TYPE', meta).ok ~= 'hash' then
  redis.call('UNLINK', meta)
end
redis.call('HSET', meta, 'v', 1, 'fingerprint', fingerprint, 'created_at', created_at, 'start_by', start_by,
  'end_by', end_by, 'attempt', attempt, 'writer', writer, 'tail', tail)
if memo ~= '' then
  redis.call('HSET', meta, 'memo', memo)
end
if request ~= '' then
  redis.call('HSET', meta, 'request', request)
end
if caller ~= '' then
  redis.call('HSET', meta, 'caller', caller)
end
redis.call('PEXPIRE', meta, keep)
if tonumber(batches) > 0 then
  redis.call('RENAME', staged, entries)
  redis.call('PEXPIRE', entries, keep)
else
  redis.call('UNLINK', entries)
end
if cancelled ~= '' then
  redis.call('HSET', meta, 'cancelled', 1)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- The writer runs a job, so the job exists.
redis.call('HSET', meta, 'heard', now, 'attempts', attempts, 'job_stored_at', now)
if grace ~= '' then
  -- Readers have as long to come back as when the stream was created.
  local there = tonumber(every) + tonumber(grace)
  redis.call('HSET', meta, 'grace', grace, 'attended_until', now + there)
  redis.call('SET', audience, 1, 'PX', there)
end
-- An empty message tells readers to read.
redis.call('PUBLISH', channel, '')
return redis.status_reply('OK')
