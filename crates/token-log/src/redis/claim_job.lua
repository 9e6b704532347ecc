#!lua
-- Gives the claim on storing the job of a stream to one caller. The time is the server's.
-- KEYS: meta
-- ARGV: how long a claim holds (ms), how long a stored job counts as stored (ms)
-- Returns: 'granted', 'taken' or 'stored'
local meta = KEYS[1]
local claim_time, stored_time = tonumber(ARGV[1]), tonumber(ARGV[2])

local state = redis.call('HMGET', meta, 'v', 'job_at', 'job_stored_at')
local version, claimed_at, stored_at = unpack(state)
if not version then
  return redis.error_reply('NOTFOUND no such stream')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- `abs`: a clock that was set back does not keep a claim for hours.
if claimed_at and math.abs(now - tonumber(claimed_at)) < claim_time then
  return redis.status_reply('taken')
end
if stored_at and math.abs(now - tonumber(stored_at)) < stored_time then
  return redis.status_reply('stored')
end
redis.call('HSET', meta, 'job_at', now)
redis.call('HDEL', meta, 'job_stored_at')
return redis.status_reply('granted')
