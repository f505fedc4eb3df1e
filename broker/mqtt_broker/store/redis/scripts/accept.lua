-- Accept: one message into every queue that must hold it, retained value, marker and inboxes; all or nothing.
local function accept()
  local WILL_SPREAD_S = 30 -- longer than the parts of a will take
  local STORED_BYTES_MAX = 1024 -- of an entry that comes along into an inbox; a larger one is read from its queue

  -- By message token: places by queue id, what was added in this call. `[0]`: it has begun.
  local spreads = {}

  -- Tell the node that a session is connected to, unless it is this one, which has the result.
  local function announce(session, place, value)
    local head = session.head
    if head[OWNER] == '' or head[TOKEN] == my_token then
      return
    end
    local box = mailbox(head[OWNER])
    if not box or box.token ~= head[TOKEN] then
      return
    end
    if box.waiting + #value > inbox_bytes_max then
      -- One notice for the session will do: who gets it reads the queue.
      box.late = box.late or {}
      box.late[session.client_id] = { session.client_id, head[ID], place }
      return
    end
    put_in(box, 's', pack({ session.client_id, head[ID], place }))
    if #value <= STORED_BYTES_MAX then
      put_in(box, 'e', value)
    end
  end

  -- Tell that node that entries had to go which it may have in memory: those of `evicted` from index `from` on.
  local function tell_gone(session, evicted, from)
    local head = session.head
    if #evicted < from or not session.client_id or head[OWNER] == '' or head[TOKEN] == my_token or not tells_evicted[head[TOKEN]] then
      return
    end
    local box = mailbox(head[OWNER])
    if not box or box.token ~= head[TOKEN] then
      return
    end
    box.gone = box.gone or {}
    local notice = box.gone[session.client_id] or { session.client_id, head[ID] }
    for i = from, #evicted, 2 do
      notice[#notice + 1] = evicted[i + 1]
    end
    box.gone[session.client_id] = notice
  end

  -- What was too much for an inbox one by one, and what is gone again: after everything else.
  finishers[1] = function()
    for _, box in pairs(mail) do
      for _, notice in pairs(box and box.late or {}) do
        put_in(box, 's', pack(notice))
      end
      for _, notice in pairs(box and box.gone or {}) do
        put_in(box, 'v', pack(notice))
      end
    end
  end

  local function wake(group, names, turn)
    group.woken = group.woken or {}
    for _, name in ipairs(names) do
      group.woken[name] = (group.woken[name] or 0) + (name == turn and 1 or 0)
    end
  end

  -- Each node is told once of a group: how often it is its turn.
  finishers[3] = function()
    for _, group in pairs(groups) do
      for name, turns in pairs(group and group.woken or {}) do
        local box = mailbox(name)
        if box then
          local filter_at = group.name:find('\0', 1, true)
          put_in(box, 'b', pack({ group.name:sub(1, filter_at - 1), group.name:sub(filter_at + 1), turns }))
        end
      end
    end
  end

  -- Where queue `id` has this message already; nil: it has not.
  local function spread_place(part, id)
    local known = spreads[part[1]]
    local place = known and known[id] or call('HGET', SPREAD .. part[1], id)
    return tonumber(place or nil)
  end

  local function is_first_part(part)
    return not spreads[part[1]] and call('EXISTS', SPREAD .. part[1]) == 0
  end

  local function note_spread(part, receivers)
    local known = spreads[part[1]] or { [0] = 0 }
    spreads[part[1]] = known
    for _, receiver in ipairs(receivers) do
      if receiver.place and receiver.place > 0 then
        known[receiver.queue.head[ID]] = receiver.place
      end
    end
    known.is_over = part[2] == 1
  end

  -- Which of these have it already, of those whose copies lie in no queue; the others have it from now on.
  local function heard_before(part, ids)
    local had = {}
    spreads[part[1]] = spreads[part[1]] or { [0] = 0 }
    for _, id in ipairs(ids) do
      if spread_place(part, id) then
        had[#had + 1] = id
      else
        spreads[part[1]][id] = 0
      end
    end
    return had
  end

  -- Incarnations of receivers on the node that writes: those that had it go into the answer, beside what was evicted.
  local function leave_out(part, evicted)
    for _, id in ipairs(heard_before(part, part[3])) do
      evicted[#evicted + 1] = ''
      evicted[#evicted + 1] = id
    end
  end

  finishers[2] = function()
    for token, known in pairs(spreads) do
      local key, is_over = SPREAD .. token, known.is_over
      known.is_over = nil
      if is_over then
        unlinked[#unlinked + 1] = key
        also('ZCARD', SPREADS, 'ZREM', token)
      else
        for id, place in pairs(known) do
          also('HLEN', key, 'HSET', id, place)
        end
        also('ZCARD', SPREADS, 'ZADD', string.format('%.17g', now()), token)
      end
    end
  end

  -- { client id, epoch, packet id }. The session whose id it is, or the refusal.
  local function publisher_of(marker)
    local session = at_epoch(marker[1], marker[2])
    if not session then
      return nil, STALE
    end
    local state = session.inbound[marker[3]]
    if state == nil and session.head[INBOUND] > 0 then
      state = call('HGET', INBOUND_KEY .. session.id, marker[3])
    end
    if state == '' then -- [MQTT-4.3.3-10]
      return nil, DUPLICATE
    end
    return session, nil, state
  end

  local function mark(session, packet_id, state, part)
    if not state then
      session.head[INBOUND] = session.head[INBOUND] + 1
    end
    change(session, 'inbound', packet_id, part and part[2] == 0 and 'p' or '')
  end

  -- The session whose will is due.
  local function testator_of(client_id, incarnation)
    local session = find(client_id)
    return session and session.head[ID] == incarnation and session.head[WILL_DUE] and session
  end

  local function forget_will(session) -- [MQTT-3.1.2-10]
    if session.head[ENDED] == 1 then
      finish(session)
    else
      session.head[WILL], session.head[WILL_DUE] = false, false
    end
  end

  -- A message for a connection that has room may be sent as soon as it is stored; one with a negative epoch has none.
  -- False: that connection is over. Whoever owns the session now takes what is appended from now on for not sent.
  local function raise_mark(head, epoch, place)
    if math.abs(epoch) ~= head[EPOCH] or head[OWNER] == '' then
      return epoch == 0
    end
    if epoch > 0 then
      head[MARK] = math.max(head[MARK], place)
    end
    return true
  end

  local function session_receiver(client_id, incarnation, header, epoch)
    local session = living(client_id)
    if not session or session.head[ID] ~= incarnation then
      return nil
    end
    local head = session.head
    return {
      name = client_id,
      queue = session,
      header = header,
      epoch = epoch,
      messages_max = head[MESSAGES_MAX],
      bytes_max = head[BYTES_MAX],
      overflow = head[OVERFLOW],
    }
  end

  -- { share, filter, header, messages, bytes, overflow, { nodes to wake }, node whose turn it is }; overflow -1: no bounds.
  local function group_receiver(target)
    local group = find_group(target[1], target[2])
    if not group then
      return nil
    end
    return {
      name = '$share/' .. target[1] .. '/' .. target[2],
      queue = group,
      header = target[3],
      messages_max = target[6] >= 0 and target[4] or math.huge,
      bytes_max = target[6] >= 0 and target[5] or math.huge,
      overflow = target[6],
      wakes = target[7],
      turn = target[8],
    }
  end

  -- The name of the first receiver whose overflow policy refuses the message. One named twice needs room for both.
  local function first_full(receivers, size)
    local copies = {}
    for _, receiver in ipairs(receivers) do
      if receiver.overflow == 2 and not receiver.place then
        local id = receiver.queue.head[ID]
        copies[id] = (copies[id] or 0) + 1
        if not has_room(receiver.queue.head, receiver.messages_max, receiver.bytes_max, size, copies[id]) then
          return receiver.name
        end
      end
    end
    return nil
  end

  -- Receivers of targets and groups that are there. `slots`: by target's index, false for one that is not.
  local function receivers_of(targets, group_targets, part)
    local receivers, slots = {}, {}
    for i = 1, #targets, 4 do
      local receiver = session_receiver(targets[i], targets[i + 1], targets[i + 2], targets[i + 3])
      receivers[#receivers + 1] = receiver
      slots[(i + 3) / 4] = receiver or false
    end
    for _, target in ipairs(group_targets) do
      receivers[#receivers + 1] = group_receiver(target)
    end
    if part then
      for _, receiver in ipairs(receivers) do
        receiver.place = spread_place(part, receiver.queue.head[ID])
      end
    end
    return receivers, slots
  end

  -- Append an entry that there is room for. Its place.
  local function put(receiver, size, value)
    local queue = receiver.queue
    local place = append(queue, size, value)
    if queue.client_id then
      receiver.is_stale = not raise_mark(queue.head, receiver.epoch, place)
      announce(queue, place, value)
    else
      wake(queue, receiver.wakes, receiver.turn)
    end
    return place
  end

  local function store(receivers, body, size, evicted)
    local value, header
    for _, receiver in ipairs(receivers) do
      local from = #evicted + 1
      if receiver.place then
        -- an earlier part brought it here
      elseif make_room(receiver, size, evicted) then
        tell_gone(receiver.queue, evicted, from)
        if receiver.header ~= header then
          header = receiver.header
          value = ARGV[header] .. body
        end
        receiver.place = put(receiver, size, value)
      elseif not receiver.queue.client_id then
        evicted[#evicted + 1] = receiver.name
        evicted[#evicted + 1] = 0
      end
    end
  end

  local function add_all(result, items)
    for i = 1, #items do
      result[#result + 1] = items[i]
    end
    return result
  end

  -- Whose connection is over, of those that were said to have one.
  local function stale_names(slots)
    local names = {}
    for _, receiver in ipairs(slots) do
      if receiver and receiver.is_stale then
        names[#names + 1] = receiver.name
      end
    end
    return names
  end

  local function accepted(slots, evicted)
    local stale = stale_names(slots)
    if #evicted == 0 and #slots < 2 and #stale == 0 then
      return slots[1] and slots[1].place or (#slots == 0 and ACCEPTED_NOWHERE or 0)
    end
    local result = { ACCEPTED, #slots, #stale }
    for _, receiver in ipairs(slots) do
      result[#result + 1] = receiver and receiver.place or 0
    end
    return add_all(add_all(result, stale), evicted)
  end

  -- The message's effects beside queues.
  local function keep_and_forward(body, kept, forwards, part)
    if kept and (not part or is_first_part(part)) then -- [MQTT-3.3.1-8]
      if kept[2] == 0 then
        forget_retained(kept[1])
      else
        retain(kept[1], ARGV[kept[2]] .. body, kept[3])
      end
    end
    for _, forward in ipairs(forwards) do
      local had = part and heard_before(part, forward[4]) or {}
      if #had == 0 or #had < #forward[4] then
        forward_to(forward[1], forward[2], body, ARGV[forward[3]], had, inbox_bytes_max)
      end
    end
  end

  -- { 2, blob of the message, size, { client id, incarnation, blob of the header, epoch (below zero: no mark), ... }, rest }
  -- rest: false, or { groups, marker, { topic, blob of the header or 0, expiry }, { client id, incarnation } of the
  -- will, { { node, token, blob, { incarnations if in parts } }, ... }, { message token, is last, { incarnations } },
  -- { topic, position } of what is retained }, each false or empty where there is none.
  handlers[2] = function(op)
    local body, size, targets, rest = ARGV[op[2]], op[3], op[4], op[5]
    if not rest and #targets == 4 then -- the most frequent kind, without what only others need
      local session = living(targets[1])
      if not session or session.head[ID] ~= targets[2] then
        return 0
      end
      local head = session.head
      if has_room(head, head[MESSAGES_MAX], head[BYTES_MAX], size, 1) then
        local value = ARGV[targets[3]] .. body
        local place = append(session, size, value)
        local is_marked = raise_mark(head, targets[4], place)
        announce(session, place, value)
        return is_marked and place or { ACCEPTED, 1, 1, place, targets[1] }
      end
    end
    local group_targets, marker, kept, will, forwards, part, before =
      unpack(rest or { {}, false, false, false, {}, false, false })
    if before and not is_retained_before(before[1], before[2]) then
      return DUPLICATE
    end
    local publisher, refusal, state, testator
    if marker then
      publisher, refusal, state = publisher_of(marker)
      if refusal then
        return refusal
      end
    end
    if will then
      testator = testator_of(will[1], will[2])
      if not testator and (not part or is_first_part(part)) then
        return DUPLICATE -- but what was begun is finished, whether or not its client is back
      end
    end
    local receivers, slots = receivers_of(targets, group_targets, part)
    local full = first_full(receivers, size)
    if full then
      return { REJECTED, full }
    end
    -- Nothing is refused below this line.
    if testator and (not part or part[2] == 1) then
      forget_will(testator)
    elseif testator then
      testator.head[WILL_DUE] = now() + WILL_SPREAD_S -- nobody else begins meanwhile; if we are lost, somebody does
    end
    if publisher then
      mark(publisher, marker[3], state, part)
    end
    keep_and_forward(body, kept, forwards, part)
    local evicted = {}
    store(receivers, body, size, evicted)
    if part then
      leave_out(part, evicted)
      note_spread(part, receivers)
    end
    return accepted(slots, evicted)
  end

  -- As `store`, for a message of a run that stands at `index` in it. What had to go is added with that index.
  local function store_next(index, receivers, body, size, evicted)
    local gone = {}
    for _, receiver in ipairs(receivers) do
      local from = #gone + 1
      if make_room(receiver, size, gone) then
        tell_gone(receiver.queue, gone, from)
        local place = put(receiver, size, ARGV[receiver.header] .. body)
        receiver.first, receiver.count = receiver.first or place, (receiver.count or 0) + 1
      end
    end
    for i = 1, #gone, 2 do
      local n = #evicted
      evicted[n + 1], evicted[n + 2], evicted[n + 3] = index, gone[i], gone[i + 1]
    end
  end

  local function accepted_run(slots, evicted, refused)
    if #slots == 0 then
      return ACCEPTED_RUN_NOWHERE
    end
    local stale = stale_names(slots)
    local result = { ACCEPTED_RUN, refused, #slots, #stale }
    for _, receiver in ipairs(slots) do
      result[#result + 1] = receiver and receiver.first or 0
      result[#result + 1] = receiver and receiver.count or 0
    end
    return add_all(add_all(result, stale), evicted)
  end

  -- { 14, blobs of what stands before each payload, of all payloads, of what stands after each, how many there are, how
  -- long each is, size of each message, targets as above, { { node, token, blob of the head }, ... } }
  handlers[14] = function(op)
    local before, payloads, after, count, length, size = ARGV[op[2]], ARGV[op[3]], ARGV[op[4]], op[5], op[6], op[7]
    local receivers, slots = receivers_of(op[8], {}, false)
    local evicted, taken = {}, receivers[1] and 0 or count
    while taken < count and not first_full(receivers, size) do
      local body = before .. payloads:sub(taken * length + 1, (taken + 1) * length) .. after
      store_next(taken, receivers, body, size, evicted)
      taken = taken + 1
    end
    if taken > 0 then
      local rest = taken < count and payloads:sub(1, taken * length) or payloads
      for _, forward in ipairs(op[9]) do
        forward_run_to(forward[1], forward[2], ARGV[forward[3]], rest, taken, true, inbox_bytes_max)
      end
    end
    return accepted_run(slots, evicted, count - taken)
  end
end
installers[2] = accept
installers[14] = accept
