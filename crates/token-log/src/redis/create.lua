#!lua
-- Creates an empty stream, or returns the fingerprint of the existing one.
-- KEYS: meta, entries, audience
-- ARGV: fingerprint, created_at, start_by, end_by, keep (ms), grace (ms, or '' when detached), presence TTL and grace (ms),
--       memo ('' for none), request ('' for none), caller ('' when anonymous)
local meta, entries, audience = KEYS[1], KEYS[2], KEYS[3]
local fingerprint, created_at, start_by, end_by, keep, grace, presence, memo, request, caller = unpack(ARGV)

local found = redis.call('HGET', meta, 'fingerprint')
if found then
  return found
end

-- Entries without meta (evicted or deleted by hand) belong to a stream that is gone.
redis.call('UNLINK', entries)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- The creator has the first claim on storing the job: `claim_job.lua`.
redis.call('HSET', meta, 'v', 1, 'fingerprint', fingerprint, 'created_at', created_at,
  'start_by', start_by, 'end_by', end_by, 'attempt', 0, 'tail', 0, 'job_at', now)
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
if grace ~= '' then
  redis.call('HSET', meta, 'grace', grace, 'attended_until', now + tonumber(presence))
  redis.call('SET', audience, 1, 'PX', presence)
end
return false
