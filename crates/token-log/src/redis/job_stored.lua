#!lua flags=allow-oom
-- Records that the job of a stream is in the queue.
-- KEYS: meta
local meta = KEYS[1]

if redis.call('EXISTS', meta) == 1 then
  local time = redis.call('TIME')
  redis.call('HSET', meta, 'job_stored_at', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('HDEL', meta, 'job_at')
end
return redis.status_reply('OK')
