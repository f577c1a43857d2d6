-- In a cluster, before step.lua: a script for one slot. KEYS = fence key{*}, all that it may touch; the fence
-- is a hash of this slot, and ARGV's token begins with the session that must stand there.
if redis.call('HGET', KEYS[1], 'session') ~= string.sub(ARGV[1], 1, 33) then
  return { 'fence', 0, '', '' }
end
