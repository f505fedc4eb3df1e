-- Sessions: how they begin, change hands and end.
local NEVER = 4294967295 -- the expiry interval that means: does not expire

local function has_expired(head)
  return head[EXPIRES] and head[EXPIRES] <= now()
end

-- When the will is due if the connection breaks now; false without a will. [MQTT-3.1.2-8]
local function will_due_now(head)
  if not head[WILL] then
    return false
  end
  local delay = head[WILL]
  if head[EXPIRY] ~= NEVER then
    delay = math.min(delay, head[EXPIRY])
  end
  return now() + delay
end

local function begin(client_id)
  local head = {
    next_ordinal(), 0, 0, 0, 1, 0, 0, 0, -- up to MARK
    0, '', 0, 0, 0, false, false, false, -- up to EXPIRES
    0, 0, 0, '', 0, -- up to ANONYMOUS
    0, 0, 0, 0,
  }
  local session = session_of(client_id, head)
  sessions[client_id] = session
  return session
end

local function tell_owned(session)
  local head = session.head
  if head[SUBSCRIBED] > 0 then
    tell('O', pack({ session.client_id, head[ID], head[EPOCH], head[OWNER], head[EXPIRY] }))
    tell('d', details_of(session))
  end
end

-- Filter and share of each subscription ("filter\0share"), unless removed in this call.
local function subscribed_fields(session)
  local fields = {}
  if session.head[SUBSCRIBED] == 0 then
    return fields
  end
  for _, field in ipairs(call('HKEYS', SUBSCRIBED_KEY .. session.id)) do
    if session.subscriptions[field] == nil then
      fields[#fields + 1] = field
    end
  end
  for field, blob in pairs(session.subscriptions) do
    if blob then
      fields[#fields + 1] = field
    end
  end
  return fields
end

local function split_field(field)
  local at = field:find('\0', 1, true)
  return field:sub(1, at - 1), field:sub(at + 1)
end

-- Take everything but the head. Subscriptions first: a group that this leaves empty takes nothing back.
local function strip(session)
  local head = session.head
  if head[SUBSCRIBED] > 0 then
    tell('E', pack({ session.client_id, head[ID] }))
  end
  for _, field in ipairs(subscribed_fields(session)) do
    local filter, share = split_field(field)
    if share ~= '' then
      leave_group(share, filter)
    end
  end
  give_back(session)
  for _, key in ipairs({ QUEUE, RECEIVED_KEY, TAKEN_KEY, SUBSCRIBED_KEY, INBOUND_KEY, OWED_KEY }) do
    unlinked[#unlinked + 1] = key .. session.id
  end
  head[MESSAGES], head[BYTES], head[RECEIVED], head[TAKEN], head[SUBSCRIBED], head[INBOUND] = 0, 0, 0, 0, 0, 0
  session.changed, session.received, session.taken = {}, UNCHANGED, UNCHANGED
  session.subscriptions, session.inbound = UNCHANGED, UNCHANGED
end

-- The session is over. A head that is stored goes with the flush.
local function finish(session)
  if session.head[ENDED] == 0 then
    strip(session)
  end
  sessions[session.client_id] = false
end

-- The connection is over: nobody owns the session now.
local function leave(session, expiry, will_due)
  local head = session.head
  head[OWNER], head[TOKEN], head[EXPIRY] = '', 0, expiry
  head[WILL_DUE] = head[WILL] and will_due
  if not head[WILL_DUE] then
    head[WILL] = false -- [MQTT-3.1.2-10]
  end
  if expiry > 0 then -- [MQTT-3.1.2-23] [MQTT-4.1.0-2]
    head[EXPIRES] = expiry ~= NEVER and now() + expiry
    tell_owned(session)
  elseif not head[WILL] then
    finish(session)
  else
    strip(session)
    head[ENDED] = 1
  end
end

-- As if the connection of a session whose owner is over had broken now.
local function abandon(session)
  give_back(session)
  leave(session, session.head[EXPIRY], will_due_now(session.head))
end
