-- Appends one batch, or seals the stream with it, as the writer that owns the stream; wakes the readers; says whether to
-- stop. `scripts.rs` puts the flags line in front. The publish is in here because a fenced writer's text must reach nobody.
-- This runs for every piece of text: it looks at no more than it needs, and a call costs a microsecond.
-- KEYS: meta, entries, audience
-- ARGV: token of the writer, first seq, last seq (below first: nothing to append), batch, channel of the entries,
--       epoch of the stream, how often a reader attends (ms; '' asks nothing about the audience and the batches, and does
--       not say that the writer lives), how many batches the stream has at least (with a question), keep (ms; none leaves
--       the stream open)
-- Answers: tail, or tail and a reason to stop
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
    -- The same seal again, after an answer that got lost.
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
    -- Its job is not made again.
    redis.call('HDEL', meta, 'request', 'attended_until')
    redis.call('PEXPIRE', meta, keep)
    redis.call('PEXPIRE', entries, keep)
    redis.call('UNLINK', audience)
  end
  -- With what tells the stream from others of its id: `announcement.rs`.
  redis.call('PUBLISH', channel, epoch .. ' ' .. batch)
elseif from <= to and (keep or to > tail) then
  return redis.error_reply('UNEXPECTED an append of unknown outcome is in the stream, which ends at ' .. tail)
end
-- Otherwise there is nothing to append, or it is the same batch again: it is in the stream, and stays there once.

local stop = cancelled and 'requested'
if every ~= '' then
  -- The owner lives: whoever else was given its job leaves it alone.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local grace, heard, attended_until = unpack(redis.call('HMGET', meta, 'grace', 'heard', 'attended_until'))
  redis.call('HSET', meta, 'heard', now)
  if grace and not stop and redis.call('EXISTS', audience) == 0 then
    -- The same as in `open_writer.lua`. Without the field it is unknown whether there are readers, and the grace begins anew.
    local whole = tonumber(every) + tonumber(grace)
    local left = whole
    if attended_until and not (heard and now - heard > tonumber(every)) then
      left = math.min(whole, tonumber(attended_until) - now)
    end
    -- Otherwise the writer could not reach the server for a while, and so could no reader: they get the time to come back.
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
