-- What becomes of a message: sent, received, acknowledged, released, dropped.
local function progress()
  -- { 3, client id, epoch, packet id }
  handlers[3] = function(op)
    local session = at_epoch(op[2], op[3])
    if not session then
      return STALE
    end
    if session.head[INBOUND] > 0 and holds('HEXISTS', INBOUND_KEY .. session.id, session.inbound, op[4]) then
      change(session, 'inbound', op[4], false)
      session.head[INBOUND] = session.head[INBOUND] - 1
    end
    return DONE
  end

  -- { 4, client id, epoch, sequence }
  handlers[4] = function(op)
    local session = at_epoch(op[2], op[3])
    if not session then
      return STALE
    end
    session.head[MARK] = math.max(session.head[MARK], op[4])
    return DONE
  end

  -- { 5, client id, epoch, sequence }
  handlers[5] = function(op)
    local session, place = at_epoch(op[2], op[3]), op[4]
    if not session then
      return STALE
    end
    local head = session.head
    local is_there = holds('HEXISTS', session.key, session.changed, place)
    if is_there and not holds('SISMEMBER', RECEIVED_KEY .. session.id, session.received, place) then
      change(session, 'received', place, true)
      head[RECEIVED] = head[RECEIVED] + 1
    end
    return DONE
  end

  -- Remove the entries of these sequences that are above `mark`. How many there were.
  local function remove_all(session, sequences, mark)
    local changed, removed, chunk = session.changed, 0, chunk_max(session.head)
    for from = 1, #sequences, chunk do
      local to = math.min(from + chunk - 1, #sequences)
      local values = call('HMGET', session.key, unpack(sequences, from, to))
      for i = from, to do
        local place = sequences[i]
        local value = changed[place]
        if value == nil then
          value = values[i - from + 1]
        end
        if value and place > mark then
          remove(session, place, value)
          removed = removed + 1
        end
      end
    end
    return removed
  end

  -- { 6, client id, epoch, { sequences } }
  handlers[6] = function(op)
    local session = at_epoch(op[2], op[3])
    if not session then
      return STALE
    end
    remove_all(session, op[4], 0)
    return DONE
  end

  -- { 7, client id, incarnation, { sequences } }
  handlers[7] = function(op)
    local session = at_incarnation(op[2], op[3], false)
    return { DROPPED, session and remove_all(session, op[4], session.head[MARK]) or 0 }
  end
end
installers[3] = progress
installers[4] = progress
installers[5] = progress
installers[6] = progress
installers[7] = progress
