-- A slot's fence, KEYS[1], is taken over by the session ARGV[1]. Answers a session that is not older.
local found = redis.call('HGET', KEYS[1], 'session')
if found and found >= ARGV[1] then return found end
redis.call('HSET', KEYS[1], 'session', ARGV[1])
redis.call('HDEL', KEYS[1], 'mark')
return ''
