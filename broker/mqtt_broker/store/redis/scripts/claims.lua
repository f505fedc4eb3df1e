-- Claim: a session changes hands, or begins.
local function claims()
  local function belongs_to_another(head, username, anonymous)
    if head[USERNAME] == username and head[ANONYMOUS] == anonymous then
      return false
    end
    return head[WILL_DUE] or not has_expired(head)
  end

  -- Taking over closes the old connection, and with expiry 0 its session ends there (MQTT 5.0, 3.1.2.11.2).
  local function is_resumable(head)
    return head[ENDED] == 0 and not has_expired(head) and (head[OWNER] == '' or head[EXPIRY] > 0)
  end

  -- The details with the will that is owed by this claim: the session ends here [MQTT-3.1.2-8], or the will's moment
  -- has passed.
  local function lapsed_will(session, is_resumed)
    local head = session.head
    local due = head[WILL_DUE]
    if head[OWNER] ~= '' then -- the claim closes that connection: its delay begins, and ends, now
      due = will_due_now(head)
    end
    local is_owed = head[WILL] and (not is_resumed or (due and due <= now()))
    return is_owed and details_of(session) or ''
  end

  local LAPSED_WILL_S = 30 -- as in ports.py

  -- As a record of its own: somebody fires it though whoever claims is lost.
  local function keep_lapsed(old, details)
    local head = old.head
    local kept = session_of('\0' .. digits(head[EPOCH]) .. ' ' .. old.client_id, {
      head[EPOCH], 0, 0, 0, 1, 0, 0, 0, -- up to MARK
      head[EPOCH], '', 0, 0, 1, 0, now() + LAPSED_WILL_S, false, -- up to EXPIRES
      0, 0, 0, head[USERNAME], head[ANONYMOUS], 0, 0, 0, 0,
    })
    kept.details, kept.has_new_details = details, true
    sessions[kept.client_id] = kept
  end

  local function evict_owner(client_id, head)
    local name, token = head[OWNER], head[TOKEN]
    if name ~= '' and token ~= my_token then
      commands[#commands + 1] = { name, token, 'evict', pack({ client_id, head[EPOCH], me, my_token }) }
    end
  end

  local function add_parts(result, session)
    local id, blobs, ids = session.id, {}, {}
    for _, field in ipairs(subscribed_fields(session)) do
      blobs[#blobs + 1] = session.subscriptions[field] or call('HGET', SUBSCRIBED_KEY .. id, field)
    end
    if session.head[INBOUND] > 0 then
      local stored = call('HGETALL', INBOUND_KEY .. id)
      for i = 1, #stored, 2 do
        local packet_id = tonumber(stored[i])
        if session.inbound[packet_id] == nil and stored[i + 1] == '' then
          ids[#ids + 1] = packet_id
        end
      end
      for packet_id, state in pairs(session.inbound) do
        if state == '' then
          ids[#ids + 1] = packet_id
        end
      end
    end
    result[#result + 1] = #blobs
    for _, blob in ipairs(blobs) do
      result[#result + 1] = blob
    end
    local owed = session.head[SUBSCRIBED] > 0 and call('HGETALL', OWED_KEY .. id) or {}
    result[#result + 1] = #owed / 2
    for _, item in ipairs(owed) do
      result[#result + 1] = item
    end
    for _, packet_id in ipairs(ids) do
      result[#result + 1] = packet_id
    end
  end

  -- { 1, client id, username, anonymous, clean start, expiry, will delay or false, bounds (3), blob of details }
  handlers[1] = function(op)
    local _, client_id, username, anonymous, clean, expiry, will, messages_max, bytes_max, overflow, blob = unpack(op)
    local old = find(client_id)
    if old and old.head[OWNER] ~= '' and not is_current(old.head[OWNER], old.head[TOKEN]) then
      abandon(old)
      old = find(client_id)
    end
    if old and belongs_to_another(old.head, username, anonymous) then
      return REFUSED
    end
    local is_present = old and clean == 0 and is_resumable(old.head) -- [MQTT-3.1.2-4] [MQTT-3.1.2-5]
    local lapsed, owner, token, epoch = '', '', 0, 0
    if old then
      lapsed = lapsed_will(old, is_present)
      owner, token, epoch = old.head[OWNER], old.head[TOKEN], old.head[EPOCH]
      evict_owner(client_id, old.head)
      if lapsed ~= '' then
        keep_lapsed(old, lapsed)
      end
    end
    if old and not is_present then
      finish(old)
    end
    local session = is_present and old or begin(client_id) -- [MQTT-3.1.2-6]
    local head = session.head
    head[EPOCH], head[OWNER], head[TOKEN], head[EXPIRY] = next_ordinal(), me, my_token, expiry
    head[USERNAME], head[ANONYMOUS] = username, anonymous
    head[MESSAGES_MAX], head[BYTES_MAX], head[OVERFLOW] = messages_max, bytes_max, overflow
    head[WILL] = will -- [MQTT-3.1.2-7]
    head[WILL_DUE], head[EXPIRES] = false, false -- [MQTT-3.1.3-9]
    session.details, session.has_new_details = ARGV[blob], true
    tell_owned(session)
    head[MARK] = math.min(head[MARK], head[LAST]) -- written ahead: what is not there yet was not sent
    local result = { CLAIMED, head[ID], head[EPOCH], is_present and 1 or 0, head[MARK], head[MESSAGES] }
    for _, item in ipairs({ owner, token, epoch, 0, 0, lapsed }) do
      result[#result + 1] = item
    end
    add_parts(result, session)
    claimed[#claimed + 1] = result
    return result
  end
end
installers[1] = claims
