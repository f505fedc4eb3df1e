-- Queues: entries by sequence in a hash, and the head's counters of them. `queue` is a session or a group.
--
-- Entry value: 1 byte of flags, 4 of the size that counts for bounds, 4 of the extension's length, extension, message.
-- Flags: 1-2 QoS, 4 retain, 8-16 the message's own QoS, 32 its own retain, 64 taken from a group.
-- Extension, if any: [[identifiers], share, filter, group id, place in the group]; the last four if taken.
local TAKEN_FLAG = 64
local WALK_MAX = 64 -- entries asked for at once
local WALK_BYTES_MAX = 262144 -- about, of what is asked for at once
local PROBES_MAX = 1000 -- for the first entry, in one call

local function size_of(value)
  return struct.unpack('>I4', value, 2)
end

local function value_at(queue, place)
  local value = queue.changed[place]
  if value == nil then
    value = call('HGET', queue.key, place)
  end
  return value
end

local function append(queue, size, value)
  local head = queue.head
  local place = head[LAST] + 1
  head[LAST] = place
  head[MESSAGES] = head[MESSAGES] + 1
  head[BYTES] = head[BYTES] + size
  queue.changed[place] = value
  return place
end

-- Take an entry that is known to be there out.
local function remove(queue, place, value)
  local head = queue.head
  head[MESSAGES] = head[MESSAGES] - 1
  head[BYTES] = head[BYTES] - size_of(value)
  queue.changed[place] = false
  queue.has_removed = true
  if not queue.client_id then
    return
  end
  if head[TAKEN] > 0 and value:byte(1) >= TAKEN_FLAG then
    change(queue, 'taken', place, false)
    head[TAKEN] = head[TAKEN] - 1
  end
  if head[RECEIVED] > 0 and holds('SISMEMBER', RECEIVED_KEY .. queue.id, queue.received, place) then
    change(queue, 'received', place, false)
    head[RECEIVED] = head[RECEIVED] - 1
  end
end

-- Put an entry back to a place it had before in a group, whose queue has no gap to remember: it is sent from the front.
local function put_back(queue, place, value)
  local head = queue.head
  head[MESSAGES] = head[MESSAGES] + 1
  head[BYTES] = head[BYTES] + size_of(value)
  queue.changed[place] = value
  head[FIRST] = math.min(head[FIRST], place)
end

-- How many entries to ask for at once.
local function chunk_max(head)
  return math.max(1, math.min(WALK_MAX, math.floor(WALK_BYTES_MAX * head[MESSAGES] / (head[BYTES] + 1))))
end

-- Visit entries in order, from `place` to `to`, until `visit(place, value)` says true or `probes` places were looked
-- at. How many are asked for at once doubles from `chunk` on. Returns the place to go on from.
local function walk(queue, place, to, chunk, visit, probes)
  local head, changed = queue.head, queue.changed
  local gap, past = head[GAP], head[PAST]
  local most = chunk_max(head)
  place = math.max(place, head[FIRST])
  while place <= to and (not probes or probes > 0) do
    local asked, count = {}, 0
    chunk = math.min(chunk, most)
    while place <= to and count < chunk do
      if gap <= place and place < past then
        place = past
      else
        count = count + 1
        asked[count] = place
        place = place + 1
      end
    end
    if count == 0 then
      return place
    end
    local values = call('HMGET', queue.key, unpack(asked))
    for i = 1, count do
      local value = changed[asked[i]]
      if value == nil then
        value = values[i]
      end
      if value and visit(asked[i], value) then
        return asked[i] + 1
      end
    end
    probes = probes and probes - count
    chunk = chunk * 2
  end
  return place
end

local function has_room(head, messages_max, bytes_max, size, copies)
  return head[MESSAGES] + copies <= messages_max and head[BYTES] + copies * size <= bytes_max
end

-- Nothing is left in [from, past): remember it, joined with what is known, or the longer of the two.
local function note_gap(head, from, past)
  if head[GAP] <= past and from <= head[PAST] then
    from, past = math.min(from, head[GAP]), math.max(past, head[PAST])
  end
  if from <= head[FIRST] then
    head[FIRST] = math.max(head[FIRST], past)
  elseif past - from >= head[PAST] - head[GAP] then
    head[GAP], head[PAST] = from, past
  end
end

-- Evict the oldest entries above the mark until `size` bytes fit. False, and nothing evicted, if that would not help.
local function evict(receiver, size, evicted)
  local queue, messages_max, bytes_max = receiver.queue, receiver.messages_max, receiver.bytes_max
  local head = queue.head
  if messages_max < 1 or size > bytes_max then
    return false
  end
  local messages, bytes, fits, victims = head[MESSAGES], head[BYTES], false, {}
  walk(queue, head[MARK] + 1, head[LAST], 1, function(place, value)
    victims[#victims + 1] = place
    victims[#victims + 1] = value
    messages, bytes = messages - 1, bytes - size_of(value)
    fits = messages < messages_max and bytes + size <= bytes_max
    return fits
  end)
  if not fits then
    return false
  end
  for i = 1, #victims, 2 do
    remove(queue, victims[i], victims[i + 1])
    evicted[#evicted + 1] = receiver.name
    evicted[#evicted + 1] = victims[i]
  end
  note_gap(head, head[MARK] + 1, victims[#victims - 1] + 1)
  return true
end

-- True if `size` bytes may be appended; names and places of what had to go for it are added to `evicted`.
-- A receiver is a queue with its name, its bounds and what to do beyond them (0: drop the oldest).
local function make_room(receiver, size, evicted)
  if has_room(receiver.queue.head, receiver.messages_max, receiver.bytes_max, size, 1) then
    return true
  end
  return receiver.overflow == 0 and evict(receiver, size, evicted)
end

-- After removals: move FIRST to the first entry, as far as that is cheap. Each place is passed by once.
local function settle(queue)
  local head, changed = queue.head, queue.changed
  if head[MESSAGES] == 0 then
    head[FIRST], head[GAP], head[PAST] = head[LAST] + 1, 0, 0
    return
  end
  local place = head[FIRST]
  for _ = 1, PROBES_MAX do
    if head[GAP] <= place and place < head[PAST] then
      place = head[PAST]
    elseif holds('HEXISTS', queue.key, changed, place) then
      break
    else
      place = place + 1
    end
  end
  head[FIRST] = place
  if place >= head[PAST] then
    head[GAP], head[PAST] = 0, 0
  end
end
