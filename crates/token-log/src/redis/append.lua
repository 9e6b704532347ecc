-- Appends one batch, or seals the stream with it, as the writer that owns the stream; wakes the readers; says whether to
-- stop. `scripts.rs` puts the flags line in front. The publish is in here because a fenced writer's text must reach nobody.
-- KEYS: meta, entries, audience
-- ARGV: token of the writer, attempt, first seq, last seq (below first: nothing to append, only ask), batch,
--       channel of the entries, keep (ms; '' leaves the stream open), how often a reader attends (ms)
-- Answers: tail, reason to stop ('' for none)
local meta, entries, audience = KEYS[1], KEYS[2], KEYS[3]
local writer, attempt, first, last, batch, channel, keep, every = unpack(ARGV)
attempt, first, last = tonumber(attempt), tonumber(first), tonumber(last)

local state = redis.call('HMGET', meta, 'attempt', 'writer', 'sealed', 'tail', 'cancelled', 'grace', 'heard',
  'start_by')
local newest, owner, sealed, tail, cancelled, grace, heard, start_by = unpack(state)
if not newest then
  return redis.error_reply('NOTFOUND no such stream')
end
newest, tail = tonumber(newest), tonumber(tail)
if owner ~= writer then
  if newest < attempt then
    return redis.error_reply('LOST the server has forgotten attempt ' .. attempt .. ' of this stream: it lost data')
  end
  return redis.error_reply('FENCED a newer attempt owns the stream')
end

local sealing = keep ~= ''
if sealed then
  if sealing and last == tail then
    -- The same seal again, after an answer that got lost.
    return { tail, '' }
  end
  return redis.error_reply('SEALED the stream is sealed')
end
if first > tail + 1 then
  return redis.error_reply('LOST the stream ends at ' .. tail .. ' where it had ' .. (first - 1)
    .. ' entries: the server lost data')
end

-- The owner lives: whoever else was given its job leaves it alone.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The same batch again: it is in the stream, and stays there once.
local repeated = not sealing and last <= tail
if first <= last and not repeated then
  if first <= tail then
    return redis.error_reply('UNEXPECTED an append of unknown outcome is in the stream, which ends at ' .. tail)
  end
  redis.call('XADD', entries, last .. '-0', 'b', batch)
  if tail == 0 then
    redis.call('PEXPIREAT', entries, redis.call('PEXPIRETIME', meta))
  end
  tail = last
  if sealing then
    redis.call('HSET', meta, 'sealed', 1)
    redis.call('PEXPIRE', meta, keep)
    redis.call('PEXPIRE', entries, keep)
    redis.call('UNLINK', audience)
  end
  -- With what tells the stream from others of its id: `announcement.rs`.
  redis.call('PUBLISH', channel, start_by .. ' ' .. batch)
end
redis.call('HSET', meta, 'tail', tail, 'heard', now)

local stop = ''
if cancelled then
  stop = 'requested'
elseif grace and not sealing and redis.call('EXISTS', audience) == 0 then
  if heard and now - heard > tonumber(every) then
    -- The writer could not reach the server for a while, and so could no reader: they get the time to come back.
    redis.call('SET', audience, 1, 'PX', tonumber(every) + tonumber(grace))
  else
    stop = 'abandoned'
  end
end
return { tail, stop }
