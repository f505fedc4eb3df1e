-- Heads: what of a session or a group every operation needs, as one MessagePack array each.
--
-- A script loads a head once, works on it and on what it gathered in tables, and writes at its very end (flush.lua):
-- until then a failure has changed nothing.
local ID, LAST, MESSAGES, BYTES = 1, 2, 3, 4 -- of both: incarnation or group id, last sequence, and what is queued
local FIRST, GAP, PAST = 5, 6, 7 -- of both: no entry is below FIRST, none in [GAP, PAST)
local MARK = 8 -- of both: entries up to here may have been sent; 0 in groups
local MEMBERS = 9 -- of a group: subscriptions to it

-- Of a session. OWNER "" and TOKEN 0: not connected. WILL: its delay in seconds, or false. WILL_DUE and EXPIRES: a
-- time, or false.
local EPOCH, OWNER, TOKEN, EXPIRY, ENDED, WILL, WILL_DUE, EXPIRES = 9, 10, 11, 12, 13, 14, 15, 16
local MESSAGES_MAX, BYTES_MAX, OVERFLOW, USERNAME, ANONYMOUS = 17, 18, 19, 20, 21
local RECEIVED, TAKEN, SUBSCRIBED, INBOUND = 22, 23, 24, 25 -- how many there are in the keys of that name

local SESSION, QUEUE, GROUP, GROUP_QUEUE = P .. 's:', P .. 'q:', P .. 'g:', P .. 'gq:'
local RECEIVED_KEY, TAKEN_KEY, SUBSCRIBED_KEY, INBOUND_KEY = P .. 'r:', P .. 't:', P .. 'sub:', P .. 'in:'
local OWED_KEY = P .. 'owed_retained:' -- hash: topic filter -> feed position of its Subscribe

-- By client id, and by group name (share "\0" filter): what there is now, false = nothing; and what is stored.
local sessions, stored_sessions = {}, {}
local groups, stored_groups = {}, {}
local unlinked = {} -- keys of what is over

local UNCHANGED = {} -- most sessions of a call have nothing else changed than their queue

-- `changed` are entries written (value) or removed (false), by sequence. `received`, `taken`, `subscriptions` and
-- `inbound`: the same for the session's other keys; to be changed by `change` alone.
local function session_of(client_id, head)
  local id = digits(head[ID])
  return {
    client_id = client_id,
    head = head,
    id = id,
    key = QUEUE .. id,
    changed = {},
    received = UNCHANGED,
    taken = UNCHANGED,
    subscriptions = UNCHANGED,
    inbound = UNCHANGED,
  }
end

local function change(session, part, member, value)
  if session[part] == UNCHANGED then
    session[part] = {}
  end
  session[part][member] = value
end

-- The session under a client id, ended or not; false: there is none.
local function find(client_id)
  local session = sessions[client_id]
  if session == nil then
    local raw = call('HGET', SESSION .. client_id, 'h')
    session = false
    if raw then
      local head = unpacked(raw)
      session = session_of(client_id, head)
      stored_sessions[client_id] = {
        raw = raw,
        messages = head[MESSAGES],
        bytes = head[BYTES],
        token = head[TOKEN],
        will_due = head[WILL_DUE],
        expires = head[EXPIRES],
      }
    end
    sessions[client_id] = session
  end
  return session
end

local function living(client_id)
  local session = find(client_id)
  return session and session.head[ENDED] == 0 and session
end

local function at_epoch(client_id, epoch)
  local session = living(client_id)
  return session and session.head[EPOCH] == epoch and session
end

-- `epoch` false: any.
local function at_incarnation(client_id, incarnation, epoch)
  local session = living(client_id)
  if not session or session.head[ID] ~= incarnation then
    return false
  end
  return (not epoch or session.head[EPOCH] == epoch) and session
end

local function group_of(name, head)
  return { name = name, head = head, key = GROUP_QUEUE .. digits(head[ID]), changed = {} }
end

-- The group of a shared subscription; false: nobody is subscribed to it.
local function find_group(share, filter)
  local name = share .. '\0' .. filter
  local group = groups[name]
  if group == nil then
    local raw = call('GET', GROUP .. name)
    group = false
    if raw then
      local head = unpacked(raw)
      group = group_of(name, head)
      stored_groups[name] = { raw = raw, messages = head[MESSAGES], bytes = head[BYTES] }
    end
    groups[name] = group
  end
  return group
end

-- What facts, will and the like of a session are: a blob of Python's.
local function details_of(session)
  if not session.details then
    session.details = call('HGET', SESSION .. session.client_id, 'd')
  end
  return session.details
end

local ORDINALS = P .. 'ordinals'
local last_ordinal

-- As `ordinal`, but written at the end.
local function next_ordinal()
  last_ordinal = (last_ordinal or tonumber(call('GET', ORDINALS) or 0)) + 1
  return last_ordinal
end

-- Membership of a set or hash of a session, `changed` before what is stored. `count` false: there is nothing stored.
local function holds(command, key, changed, member)
  local known = changed[member]
  if known == nil then
    return call(command, key, member) == 1
  end
  return known ~= false
end
