-- Subscriptions, and what moves between a group and its members.
local function subscribing()
  local function done_at(existed)
    local result = { DONE_AT, 0 }
    for i, did in ipairs(existed) do
      result[i + 2] = did and 1 or 0
    end
    return result
  end

  -- { 8, client id, incarnation, epoch or false, { filter, group, blob, ... }, 1 = only those that are there, { filters
  -- whose retained messages are owed } }
  handlers[8] = function(op)
    local session, items, only_known = at_incarnation(op[2], op[3], op[4]), op[5], op[6] == 1
    if not session then
      return STALE
    end
    local head, existed, written = session.head, {}, {}
    for i = 1, #items, 3 do
      local filter, share = items[i], items[i + 1]
      local field = filter .. '\0' .. share
      local did = head[SUBSCRIBED] > 0 and holds('HEXISTS', SUBSCRIBED_KEY .. session.id, session.subscriptions, field)
      existed[#existed + 1] = did
      if did or not only_known then
        written[#written + 1] = ARGV[items[i + 2]]
        change(session, 'subscriptions', field, ARGV[items[i + 2]])
      end
      if not did and not only_known then
        head[SUBSCRIBED] = head[SUBSCRIBED] + 1
        if share ~= '' then
          join_group(share, filter)
        end
      end
    end
    local result = done_at(existed)
    if #written > 0 then
      tell('S', pack({ session.client_id, head[ID], head[EPOCH], head[OWNER], head[EXPIRY], #written }))
      tell('d', details_of(session))
      for _, blob in ipairs(written) do
        tell('u', blob)
      end
      positioned[#positioned + 1] = result
    end
    for _, filter in ipairs(op[7]) do
      owing[#owing + 1] = { session, filter }
      also('HLEN', OWED_KEY .. session.id, 'HDEL', filter) -- it is put there when its position is known: commit.lua
    end
    return result
  end

  -- { 15, client id, incarnation, filter, position }
  handlers[15] = function(op)
    local session = at_incarnation(op[2], op[3], false)
    local key = session and OWED_KEY .. session.id
    if session and call('HGET', key, op[4]) == digits(op[5]) then
      also('HLEN', key, 'HDEL', op[4])
    end
    return DONE
  end

  -- { 9, client id, incarnation, epoch or false, { filter, group, ... } }
  handlers[9] = function(op)
    local session, items = at_incarnation(op[2], op[3], op[4]), op[5]
    if not session then
      return STALE
    end
    local head, existed, gone = session.head, {}, { session.client_id, session.head[ID] }
    for i = 1, #items, 2 do
      local filter, share = items[i], items[i + 1]
      local field = filter .. '\0' .. share
      local did = head[SUBSCRIBED] > 0 and holds('HEXISTS', SUBSCRIBED_KEY .. session.id, session.subscriptions, field)
      existed[#existed + 1] = did
      if did then
        change(session, 'subscriptions', field, false)
        head[SUBSCRIBED] = head[SUBSCRIBED] - 1
        gone[#gone + 1] = filter
        gone[#gone + 1] = share
        if share ~= '' then
          leave_group(share, filter)
        else
          also('HLEN', OWED_KEY .. session.id, 'HDEL', filter)
        end
      end
    end
    local result = done_at(existed)
    if #gone > 2 then
      tell('U', pack(gone))
      positioned[#positioned + 1] = result
    end
    return result
  end

  -- { 10, share, filter, client id, epoch, limit, QoS, { identifiers }, retain as published }
  handlers[10] = function(op)
    local _, share, filter, client_id, epoch, limit, granted, identifiers, retain_as_published = unpack(op)
    local session = at_epoch(client_id, epoch)
    if not session then
      return STALE
    end
    local group = find_group(share, filter)
    if not group then
      return { TAKEN_ENTRIES, 0 }
    end
    local head, places, values = group.head, {}, {}
    limit = math.min(limit, head[MESSAGES])
    if limit > 0 then
      walk(group, 1, head[LAST], limit, function(place, value)
        places[#places + 1] = place
        values[#values + 1] = value
        return #places == limit
      end)
    end
    local result = { TAKEN_ENTRIES, 0 }
    for i, place in ipairs(places) do
      local value = values[i]
      remove(group, place, value)
      local own = math.floor(value:byte(1) / 8) % 8
      local flags = math.min(own % 4, granted) -- [MQTT-3.8.4-8]
      if own >= 4 and retain_as_published == 1 then -- [MQTT-3.3.1-12] [MQTT-3.3.1-13]
        flags = flags + 4
      end
      local extension = pack({ identifiers, share, filter, head[ID], place })
      value = string.char(flags + own * 8 + TAKEN_FLAG)
        .. value:sub(2, 5)
        .. struct.pack('>I4', #extension)
        .. extension
        .. value:sub(10)
      local sequence = append(session, size_of(value), value)
      change(session, 'taken', sequence, true)
      session.head[TAKEN] = session.head[TAKEN] + 1
      result[#result + 1] = sequence
      result[#result + 1] = value
    end
    result[2] = head[MESSAGES]
    return result
  end

  -- { 11, client id, epoch, { sequences } or false }
  handlers[11] = function(op)
    local session, only = at_epoch(op[2], op[3]), nil
    if not session then
      return STALE
    end
    if op[4] then
      only = {}
      for _, place in ipairs(op[4]) do
        only[place] = true
      end
    end
    give_back(session, only)
    return DONE
  end
end
installers[8] = subscribing
installers[9] = subscribing
installers[10] = subscribing
installers[11] = subscribing
installers[15] = subscribing
