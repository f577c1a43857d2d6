-- What stands at these places: ARGV = (letter key member){*}. An answer for each: {} where there is
-- nothing, {"is", text...} with the hash's fields, the string, the score or nothing more, or
-- {"type", name} where the key is of another type.
local types = { h = 'hash', j = 'string', z = 'zset', s = 'set' }
local out = {}
for i = 1, #ARGV, 3 do
  local letter, key, member = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local kind = redis.call('TYPE', key).ok
  local answer = {}
  if kind ~= 'none' and kind ~= types[letter] then
    answer = { 'type', kind }
  elseif kind ~= 'none' then
    if letter == 'h' then
      answer = redis.call('HGETALL', key)
      table.insert(answer, 1, 'is')
    elseif letter == 'j' then
      answer = { 'is', redis.call('GET', key) }
    elseif letter == 'z' then
      local score = redis.call('ZSCORE', key, member)
      if score then answer = { 'is', score } end
    elseif redis.call('SISMEMBER', key, member) == 1 then
      answer = { 'is' }
    end
  end
  out[#out + 1] = answer
end
return out
