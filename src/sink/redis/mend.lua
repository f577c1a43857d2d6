-- Puts one entry right, if it still is what was found: ARGV = letter key member seconds
-- there n text{n} wanted m text{m}. "there" and "wanted" are 0 where there is or shall be nothing.
local letter, key, member, seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local i = 5
local function texts()
  local present, count = ARGV[i] == '1', tonumber(ARGV[i + 1])
  local found = {}
  for at = 1, count do found[at] = ARGV[i + 1 + at] end
  i = i + 2 + count
  return present, found
end
local there, was = texts()
local wanted, shall = texts()

local types = { h = 'hash', j = 'string', z = 'zset', s = 'set' }
local kind = redis.call('TYPE', key).ok
if kind ~= 'none' and kind ~= types[letter] then return 0 end
local now, has = {}, kind ~= 'none'
if has then
  if letter == 'h' then
    now = redis.call('HGETALL', key)
  elseif letter == 'j' then
    now = { redis.call('GET', key) }
  elseif letter == 'z' then
    local score = redis.call('ZSCORE', key, member)
    has = score ~= false
    if has then now = { score } end
  else
    has = redis.call('SISMEMBER', key, member) == 1
  end
end
if has ~= there or #now ~= #was then return 0 end
if letter == 'h' then
  local fields = {}
  for at = 1, #was, 2 do fields[was[at]] = was[at + 1] end
  for at = 1, #now, 2 do
    if fields[now[at]] ~= now[at + 1] then return 0 end
  end
else
  for at = 1, #was do
    if now[at] ~= was[at] then return 0 end
  end
end

if letter == 'h' then
  redis.call('DEL', key)
  if wanted then redis.call('HSET', key, unpack(shall)) end
elseif letter == 'j' then
  if wanted then redis.call('SET', key, shall[1]) else redis.call('DEL', key) end
elseif letter == 'z' then
  if wanted then redis.call('ZADD', key, shall[1], member) else redis.call('ZREM', key, member) end
else
  redis.call(wanted and 'SADD' or 'SREM', key, member)
end
if wanted and seconds ~= '' then redis.call('EXPIRE', key, seconds) end
return 1
