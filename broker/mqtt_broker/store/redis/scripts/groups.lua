-- Shared subscriptions: their groups come and go with their members, and entries move to a member and back.

local function join_group(share, filter)
  local group = find_group(share, filter)
  if not group then
    local name = share .. '\0' .. filter
    group = group_of(name, { next_ordinal(), 0, 0, 0, 1, 0, 0, 0, 0 })
    groups[name] = group
  end
  group.head[MEMBERS] = group.head[MEMBERS] + 1
end

-- A group without a subscription ends, with its queue.
local function leave_group(share, filter)
  local group = find_group(share, filter)
  if not group then
    return
  end
  group.head[MEMBERS] = group.head[MEMBERS] - 1
  if group.head[MEMBERS] <= 0 then
    unlinked[#unlinked + 1] = group.key
    groups[group.name] = false
  end
end

-- The places of what a session took.
local function taken_places(session)
  local places = {}
  for _, text in ipairs(call('SMEMBERS', TAKEN_KEY .. session.id)) do
    local place = tonumber(text)
    if session.taken[place] == nil then
      places[#places + 1] = place
    end
  end
  for place, is_taken in pairs(session.taken) do
    if is_taken then
      places[#places + 1] = place
    end
  end
  return places
end

-- The entry as it was in its group.
local function restored(value)
  local own = math.floor(value:byte(1) / 8) % 8 -- QoS and retain of the message itself
  local length = struct.unpack('>I4', value, 6)
  return string.char(own * 9) .. value:sub(2, 5) .. '\0\0\0\0' .. value:sub(10 + length)
end

-- What a session took goes back to its old place in its group; QoS 2 that was sent stays [MQTT-4.8.2-4] [MQTT-4.8.2-5].
-- `only`: a set of places, which were not sent; nil: all there are.
local function give_back(session, only)
  if session.head[TAKEN] == 0 then
    return
  end
  for _, place in ipairs(taken_places(session)) do
    local value = value_at(session, place)
    local was_sent = value:byte(1) % 4 == 2 and place <= session.head[MARK]
    if (only and only[place]) or not (only or was_sent) then
      remove(session, place, value)
      local _, share, filter, id, place_before = unpack(unpacked(value:sub(10, 9 + struct.unpack('>I4', value, 6))))
      local group = find_group(share, filter)
      if group and group.head[ID] == id then
        put_back(group, place_before, restored(value))
        if not group.is_told then
          group.is_told = true
          tell('G', pack({ share, filter }))
        end
      end
    end
  end
end
