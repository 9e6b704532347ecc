-- Appends one batch, or seals the stream with it, for the writer that owns the stream. Wakes the readers. Returns whether to
-- stop. `scripts.rs` adds the flags line. It publishes here because text of a fenced writer must not reach readers. It runs
-- for every batch, and each call costs a microsecond, so it reads only what it needs.
-- KEYS: meta, entries, audience
-- ARGV: token of the writer, first seq, last seq (below first: nothing to append), batch, channel of the entries,
--       epoch of the stream, presence TTL (ms; '' skips the checks of readers and batches, and the record that the writer
--       lives), how many batches the stream has at least (with the checks), keep (ms; none leaves the stream open)
-- Returns: tail, or tail and a reason to stop
local meta, entries, audience = KEYS[1], KEYS[2], KEYS[3]
local writer, first, last, batch, channel, epoch, every, batches, keep = unpack(ARGV)

local state = redis.call('HMGET', meta, 'writer', 'tail', 'cancelled', 'sealed')
local owner, tail, cancelled, sealed = unpack(state)
if owner ~= writer then
  local newest = redis.call('HGET', meta, 'attempt')
  if not newest then
    return redis.error_reply('NOTFOUND no such stream')
  end
  -- A token begins with the number of its attempt: `open_writer.lua`.
  local attempt = string.match(writer, '^%d+')
  if tonumber(newest) < tonumber(attempt) then
    return redis.error_reply('LOST the server has forgotten attempt ' .. attempt .. ' of this stream: it lost data')
  end
  return redis.error_reply('FENCED a newer attempt owns the stream')
end

tail = tonumber(tail)
if not tail then
  return redis.error_reply('LOST the stream has no end any more: the server lost data')
end
local from, to = tonumber(first), tonumber(last)
if sealed then
  if keep and to == tail then
    -- The same seal again, after a lost answer.
    return tail
  end
  return redis.error_reply('SEALED the stream is sealed')
end
if from > tail + 1 then
  return redis.error_reply('LOST the stream ends at ' .. tail .. ' where it had ' .. (from - 1)
    .. ' entries: the server lost data')
end
if every ~= '' and redis.call('XLEN', entries) < tonumber(batches) then
  return redis.error_reply('LOST entries are missing, though the stream ends at ' .. tail .. ': the server lost data')
end

if from <= to and from > tail then
  redis.call('XADD', entries, last, 'b', batch)
  if tail == 0 then
    redis.call('PEXPIREAT', entries, redis.call('PEXPIRETIME', meta))
  end
  tail = to
  redis.call('HSET', meta, 'tail', last)
  if keep then
    redis.call('HSET', meta, 'sealed', 1)
    -- Its job is not recreated.
    redis.call('HDEL', meta, 'request', 'attended_until')
    redis.call('PEXPIRE', meta, keep)
    redis.call('PEXPIRE', entries, keep)
    redis.call('UNLINK', audience)
  end
  -- With the epoch of the stream: `announcement.rs`.
  redis.call('PUBLISH', channel, epoch .. ' ' .. batch)
elseif from <= to and (keep or to > tail) then
  return redis.error_reply('UNEXPECTED an append of unknown outcome is in the stream, which ends at ' .. tail)
end
-- Otherwise there is nothing to append, or the batch is in the stream already.

local stop = cancelled and 'requested'
if every ~= '' then
  -- The owner lives, so other workers do not take over.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local grace, heard, attended_until = unpack(redis.call('HMGET', meta, 'grace', 'heard', 'attended_until'))
  redis.call('HSET', meta, 'heard', now)
  if grace and not stop and redis.call('EXISTS', audience) == 0 then
    -- As in `open_writer.lua`. Without the field it is unknown whether there are readers, and the grace begins again.
    local whole = tonumber(every) + tonumber(grace)
    local left = whole
    if attended_until and not (heard and now - heard > tonumber(every)) then
      left = math.min(whole, tonumber(attended_until) - now)
    end
    -- Otherwise neither the writer nor readers could reach the server for a while: readers get time to come back.
    if left > 0 then
      redis.call('SET', audience, 1, 'PX', left)
      redis.call('HSET', meta, 'attended_until', now + left)
    else
      stop = 'abandoned'
    end
  end
end
if stop then
  return { tail, stop }
end
return tail
