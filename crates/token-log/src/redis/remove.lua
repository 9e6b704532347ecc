#!lua flags=allow-oom
-- Forgets a stream.
-- KEYS: meta, entries, audience
redis.call('UNLINK', unpack(KEYS))
return redis.status_reply('OK')
