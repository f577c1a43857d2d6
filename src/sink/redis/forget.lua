-- What the cluster has lost: the watermark KEYS[1] says that there is nothing to go on from, over the token
-- ARGV[1], with the token ARGV[2], and that rows may be as new as ARGV[3] in the history ARGV[5]. ARGV[4]: "log" or
-- "rows".
if (redis.call('HGET', KEYS[1], 'step') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'step', ARGV[2], 'settled', 'false', 'reaching', ARGV[3], 'fingerprint', '',
  'history', ARGV[5])
redis.call('HDEL', KEYS[1], 'session', 'marks')
if ARGV[4] == 'log' then redis.call('HDEL', KEYS[1], 'lsn')
else redis.call('HSET', KEYS[1], 'lsn', '0/0') end
return 1
