-- One script: a fence, then entries that leave, then rows, then watermarks.
--
--   ARGV      = token count mark{count} move{*} [ "=" row{*} ]
--   mark      = watermark-key owner step reaching n (field value){n/2}
--               owner and step are what the watermark must hold now ("" and "": absent); the fields
--               are what it holds afterwards.
--   move      = ("h"|"j") key | ("z"|"s") key member             leaves, when it is of that type
--             | "A" n name{n}
--             | "c" key | "C" key                                 a hash of no other fields than "A"'s,
--                                                                 a JSON object of just these, leaves
--             | "P" m name{m} n name{n} t target{t}               the anchor's watched and all columns
--             | "V" key value{m} | "v" key                        an anchored row stays or moves | leaves
--             | "R" hash field record                             a recorded row moves; "" leaves
--             | "T" letters n name{n}                             names the columns of a whole row
--             | "W" hash field value | "D" hash field | "U" key   set, delete, unlink, unconditionally
--   target    = letter n piece{n} n piece{n}                      key and member; "=literal" or "#column"
--   row       = write{*} (")" | "]" hash field prefix)           a refused one is remembered in the hash
--   write     = letters key value{n}                             HSET of all that "T" named
--             | "H" key n (field value){n/2} | "F" the same, replacing the hash
--             | "N" key n field{n} | "J" key text | "Z" key score member | "S" key member
--             | "X" key seconds | "K" key                         expires, or never
--             | "A" key maxlen id type committed-at data | "L" key text   added to a stream ("" is no bound),
--                                                                 or behind a list
--             | "E" field history position                        in a cluster, before "A" and "L": not again, when the slot's
--                                                                 fence has such a position, or a later one
--   record    = (letter length ":" key [length ":" member]){*}
--
-- A NULL among values is the byte 255, which no text contains. Redis does not roll back a script: so
-- the watermark is unsettled by the first write (where Redis checks memory, disk and role), each
-- write reports a wrong type instead of failing, and a row that met one leaves whole. unpack() is
-- bounded by the columns of a row, of which Postgres has 1664 at most.

local a, n, i = ARGV, #ARGV, 3
local call, try = redis.call, redis.pcall
local token, count = a[1], tonumber(a[2])

local marks = {}
for p = 1, count do
  local m = call('HMGET', a[i], 'owner', 'step')
  local owner, step = m[1] or '', m[2] or ''
  if owner ~= a[i + 1] or step ~= a[i + 2] then return { 'fence', p - 1, owner, step } end
  local last = i + 4 + a[i + 4]
  marks[p] = { a[i], a[i + 3], i + 5, last }
  i = last + 1
end
if i <= n then
  for p = 1, count do
    call('HSET', marks[p][1], 'settled', 'false', 'reaching', marks[p][2], 'step', token)
  end
end

-- Whether a call went well but for a wrong type, the one error that belongs to a row.
local function sound(answer)
  if type(answer) == 'number' then return true end
  if type(answer) == 'table' and answer.err then
    if string.sub(answer.err, 1, 9) == 'WRONGTYPE' then return false end
    error(answer.err, 0)
  end
  return true
end

local function is(key, kind) return call('TYPE', key).ok == kind end

local function leave(letter, key, member)
  if letter == 'z' then sound(try('ZREM', key, member))
  elseif letter == 's' then sound(try('SREM', key, member))
  elseif letter == 'h' then if is(key, 'hash') then call('DEL', key) end
  elseif is(key, 'string') then call('DEL', key) end
end

local function leave_recorded(record)
  local at = 1
  local function text()
    local _, stop, length = string.find(record, '^(%d+):', at)
    at = stop + 1 + length
    return string.sub(record, stop + 1, stop + length)
  end
  while at <= #record do
    local letter, member = string.sub(record, at, at), nil
    at = at + 1
    local key = text()
    if letter == 'z' or letter == 's' then member = text() end
    leave(letter, key, member)
  end
end

-- The anchor: what "P" said last.
local watched, columns, targets = {}, {}, {}

local function render(pieces, values)
  local parts = {}
  for k = 1, #pieces do
    local piece = pieces[k]
    if type(piece) == 'number' then
      if not values[piece] then return nil end
      parts[k] = values[piece]
    else
      parts[k] = piece
    end
  end
  return table.concat(parts)
end

local function leave_anchored(key)
  local values = try('HMGET', key, unpack(columns))
  if not sound(values) then return end
  for t = 1, #targets do
    local target = targets[t]
    local at, member = render(target[2], values), render(target[3], values)
    if at and member then leave(target[1], at, member) end
  end
end

local function names_at(at)
  local found = {}
  for k = 1, tonumber(a[at]) do found[k] = a[at + k] end
  return found, at + #found + 1
end

local function pieces_at(at)
  local found, after = names_at(at)
  for k = 1, #found do
    local text = string.sub(found[k], 2)
    if string.sub(found[k], 1, 1) == '#' then text = tonumber(text) end
    found[k] = text
  end
  return found, after
end

local allowed, allowed_count = {}, 0

-- By "T"'s letters, HSET's arguments: names at odd places, at even ones the row's values.
local whole = {}

while i <= n do
  local op = a[i]
  if op == 'V' then
    local m, key = #watched, a[i + 1]
    if m == 1 then
      local old = try('HGET', key, watched[1])
      if old and old ~= a[i + 2] and sound(old) then leave_anchored(key) end
    else
      local old = try('HMGET', key, unpack(watched))
      for k = 1, sound(old) and m or 0 do
        if (old[k] or '\255') ~= a[i + 1 + k] then leave_anchored(key) break end
      end
    end
    i = i + 2 + m
  elseif op == 'R' then
    local old, new = call('HGET', a[i + 1], a[i + 2]), a[i + 3]
    if (old or '') ~= new then
      if old then leave_recorded(old) end
      if new == '' then call('HDEL', a[i + 1], a[i + 2])
      else call('HSET', a[i + 1], a[i + 2], new) end
    end
    i = i + 4
  elseif op == 'z' or op == 's' then leave(op, a[i + 1], a[i + 2]) i = i + 3
  elseif op == 'h' or op == 'j' then leave(op, a[i + 1]) i = i + 2
  elseif op == 'v' then leave_anchored(a[i + 1]) i = i + 2
  elseif op == 'W' then call('HSET', a[i + 1], a[i + 2], a[i + 3]) i = i + 4
  elseif op == 'D' then call('HDEL', a[i + 1], a[i + 2]) i = i + 3
  elseif op == 'U' then call('UNLINK', a[i + 1]) i = i + 2
  elseif op == 'P' then
    watched, i = names_at(i + 1)
    columns, i = names_at(i)
    targets = {}
    local t = tonumber(a[i])
    i = i + 1
    for k = 1, t do
      local target = { a[i] }
      target[2], i = pieces_at(i + 1)
      target[3], i = pieces_at(i)
      targets[k] = target
    end
  elseif op == 'A' then
    local names
    names, i = names_at(i + 1)
    allowed, allowed_count = {}, #names
    for k = 1, #names do allowed[names[k]] = true end
  elseif op == 'T' then
    local letters, names, pairs_of = a[i + 1], nil, {}
    names, i = names_at(i + 2)
    for k = 1, #names do
      pairs_of[2 * k - 1], pairs_of[2 * k] = names[k], ''
    end
    whole[letters] = pairs_of
  elseif op == 'c' then
    local names = try('HKEYS', a[i + 1])
    if sound(names) then
      local ours = true
      for k = 1, #names do ours = ours and allowed[names[k]] end
      if ours then call('DEL', a[i + 1]) end
    end
    i = i + 2
  elseif op == 'C' then
    local text = try('GET', a[i + 1])
    if sound(text) and text then
      local read, object = pcall(cjson.decode, text)
      local names = 0
      if read and type(object) == 'table' then
        for name in pairs(object) do names = names + (allowed[name] and 1 or allowed_count + 1) end
      end
      if names == allowed_count and names > 0 then call('DEL', a[i + 1]) end
    end
    i = i + 2
  else
    i = i + 1
    break
  end
end

local answer, row, start = { 'ok' }, 0, i

-- What the row met, as its answer has it.
local met

-- The row that began at `start` met a key of another type: it leaves whole.
local function refuse(key)
  local k, kind = #answer, call('TYPE', key).ok
  answer[k + 1], answer[k + 2], answer[k + 3] = row, key, kind
  met = kind .. ' ' .. key
  i = start
  while a[i] ~= ')' and a[i] ~= ']' do
    local op = a[i]
    if whole[op] then leave('h', a[i + 1]) i = i + 2 + #whole[op] / 2
    elseif op == 'H' or op == 'F' then leave('h', a[i + 1]) i = i + 3 + a[i + 2]
    elseif op == 'Z' then leave('z', a[i + 1], a[i + 3]) i = i + 4
    elseif op == 'S' then leave('s', a[i + 1], a[i + 2]) i = i + 3
    elseif op == 'J' then leave('j', a[i + 1]) i = i + 3
    elseif op == 'A' then i = i + 7
    elseif op == 'E' then i = i + 4
    elseif op == 'L' then i = i + 3
    elseif op == 'N' then i = i + 3 + a[i + 2]
    elseif op == 'X' then i = i + 3
    else i = i + 2 end
  end
end

local persisted = {}

while i <= n do
  local op = a[i]
  local row_pairs = whole[op]
  if row_pairs then
    local m = #row_pairs
    for k = 2, m, 2 do row_pairs[k] = a[i + 1 + k / 2] end
    if sound(try('HSET', a[i + 1], unpack(row_pairs, 1, m))) then
      i = i + 2 + m / 2
    else
      refuse(a[i + 1])
    end
  elseif op == 'Z' then
    if sound(try('ZADD', a[i + 1], a[i + 2], a[i + 3])) then i = i + 4 else refuse(a[i + 1]) end
  elseif op == ')' then
    row, i, met = row + 1, i + 1, nil
    start = i
  elseif op == ']' then
    if met then call('HSET', a[i + 1], a[i + 2], a[i + 3] .. met) end
    row, i, met = row + 1, i + 4, nil
    start = i
  elseif op == 'H' then
    local last = i + 2 + a[i + 2]
    if sound(try('HSET', a[i + 1], unpack(a, i + 3, last))) then i = last + 1 else refuse(a[i + 1]) end
  elseif op == 'S' then
    if sound(try('SADD', a[i + 1], a[i + 2])) then i = i + 3 else refuse(a[i + 1]) end
  elseif op == 'J' then
    if sound(try('STRLEN', a[i + 1])) then
      call('SET', a[i + 1], a[i + 2])
      i = i + 3
    else
      refuse(a[i + 1])
    end
  elseif op == 'F' then
    local last = i + 2 + a[i + 2]
    if sound(try('HLEN', a[i + 1])) then
      call('DEL', a[i + 1])
      call('HSET', a[i + 1], unpack(a, i + 3, last))
      i = last + 1
    else
      refuse(a[i + 1])
    end
  elseif op == 'N' then
    local last = i + 2 + a[i + 2]
    call('HDEL', a[i + 1], unpack(a, i + 3, last))
    i = last + 1
  elseif op == 'E' then
    local seen = call('HGET', KEYS[1], a[i + 1])
    local history, position = string.match(seen or '', '^(%S+) (%S+)$')
    local is_there = history == a[i + 2] and position >= a[i + 3]
    if not is_there then call('HSET', KEYS[1], a[i + 1], a[i + 2] .. ' ' .. a[i + 3]) end
    i = i + 4
    while is_there and a[i] ~= ')' do i = i + (a[i] == 'A' and 7 or 3) end
  elseif op == 'A' then
    local key, added = a[i + 1], nil
    if a[i + 2] == '' then
      added = try('XADD', key, '*', 'id', a[i + 3], 'type', a[i + 4], 'committed_at', a[i + 5],
        'data', a[i + 6])
    else
      added = try('XADD', key, 'MAXLEN', a[i + 2], '*', 'id', a[i + 3], 'type', a[i + 4],
        'committed_at', a[i + 5], 'data', a[i + 6])
    end
    if sound(added) then i = i + 7 else refuse(key) end
  elseif op == 'L' then
    if sound(try('RPUSH', a[i + 1], a[i + 2])) then i = i + 3 else refuse(a[i + 1]) end
  elseif op == 'X' then call('EXPIRE', a[i + 1], a[i + 2]) i = i + 3
  else
    local key = a[i + 1]
    if not persisted[key] then call('PERSIST', key) end
    persisted[key], i = true, i + 2
  end
end

for p = 1, count do
  local mark = marks[p]
  call('HSET', mark[1], 'step', token, unpack(a, mark[3], mark[4]))
end
return answer
