-- The end of a script that changes sessions: everything gathered is written.
--
-- First every key is looked at by a command of its type, for Redis undoes nothing: a key of a wrong type fails the
-- script there, before it has written anything.
local ARGUMENTS_MAX = 4000 -- of one command: Lua's stack has room for about twice as many
local SESSIONS, GROUPS, OWNED, OWNERS = P .. 'sessions', P .. 'groups', P .. 'owned:', P .. 'owners'
local WILLS, EXPIRIES, TOTALS = P .. 'wills', P .. 'expiries', P .. 'totals'

-- Messages that are sent in parts: a hash of places by queue id for each, and when each was last added to.
local SPREAD, SPREADS = P .. 'spread:', P .. 'spreads'

local commands = {} -- for control streams: node, token, kind, payload
local others = {} -- writes to keys that are neither a session's nor a group's: looking command, key, command, arguments

local function also(look, key, command, ...)
  others[#others + 1] = { look, key, command, { ... } }
end

-- Any number of arguments, in commands of an even number each.
local function call_all(command, key, arguments)
  for i = 1, #arguments, ARGUMENTS_MAX do
    call(command, key, unpack(arguments, i, math.min(i + ARGUMENTS_MAX - 1, #arguments)))
  end
end

-- The changes of a hash: values by field, false = removed.
local function write_hash(key, changed)
  local put, gone = {}, {}
  for field, value in pairs(changed) do
    if value then
      put[#put + 1] = field
      put[#put + 1] = value
    else
      gone[#gone + 1] = field
    end
  end
  call_all('HSET', key, put)
  call_all('HDEL', key, gone)
end

local function write_set(key, changed)
  local put, gone = {}, {}
  for member, is_in in pairs(changed) do
    local list = is_in and put or gone
    list[#list + 1] = member
  end
  call_all('SADD', key, put)
  call_all('SREM', key, gone)
end

local function write_moment(key, member, before, after)
  if after then
    also('ZCARD', key, 'ZADD', string.format('%.17g', after), member)
  elseif before then
    also('ZCARD', key, 'ZREM', member)
  end
end

local function write_owner(client_id, before, head)
  local token = head and head[TOKEN] or 0
  if before ~= token and before ~= 0 then
    also('SCARD', OWNED .. digits(before), 'SREM', client_id)
  end
  if before ~= token and token ~= 0 then
    also('SCARD', OWNED .. digits(token), 'SADD', client_id)
    also('HLEN', OWNERS, 'HSET', digits(token), head[OWNER])
  end
end

-- How much the world's totals change.
local messages, bytes = 0, 0

local function count(head, before)
  messages = messages + (head and head[MESSAGES] or 0) - (before and before.messages or 0)
  bytes = bytes + (head and head[BYTES] or 0) - (before and before.bytes or 0)
end

-- What follows from how a session's head was and is.
local function prepare_session(client_id, session)
  local before, head = stored_sessions[client_id], session and session.head
  if session and session.has_removed then
    settle(session)
  end
  count(head, before)
  if not before ~= not session then
    also('SCARD', SESSIONS, session and 'SADD' or 'SREM', client_id)
    if before then
      unlinked[#unlinked + 1] = SESSION .. client_id
    end
  end
  local due, expires, token = before and before.will_due, before and before.expires, before and before.token or 0
  if (head and head[TOKEN] or 0) ~= token then
    write_owner(client_id, token, head)
  end
  if (head and head[WILL_DUE] or false) ~= (due or false) then
    write_moment(WILLS, client_id, due, head and head[WILL_DUE])
  end
  if (head and head[EXPIRES] or false) ~= (expires or false) then
    write_moment(EXPIRIES, client_id, expires, head and head[EXPIRES])
  end
end

local function prepare_group(name, group)
  local before = stored_groups[name]
  if group and group.has_removed then
    settle(group)
  end
  count(group and group.head, before)
  if not before ~= not group then
    also('SCARD', GROUPS, group and 'SADD' or 'SREM', name)
    if before then
      unlinked[#unlinked + 1] = GROUP .. name
    end
  end
end

local function prepare_retained()
  if next(retained) == nil then
    return
  end
  for topic, kept in pairs(retained) do
    if kept then
      also('HLEN', RETAINED, 'HSET', topic, kept.value)
    else
      also('HLEN', RETAINED, 'HDEL', topic)
    end
    write_moment(RETAINED_DUE, topic, true, kept and kept.expires)
  end
end

local function prepare_totals()
  for field, change in pairs({ messages = messages, bytes = bytes, retained_bytes = retained_bytes }) do
    if change ~= 0 then
      also('HLEN', TOTALS, 'HINCRBY', field, change)
    end
  end
end

local function look_at_parts(queue)
  if next(queue.changed) ~= nil then
    call('HLEN', queue.key)
  end
  if next(queue.received) ~= nil then
    call('SCARD', RECEIVED_KEY .. queue.id)
  end
  if next(queue.taken) ~= nil then
    call('SCARD', TAKEN_KEY .. queue.id)
  end
  if next(queue.subscriptions) ~= nil then
    call('HLEN', SUBSCRIBED_KEY .. queue.id)
  end
  if next(queue.inbound) ~= nil then
    call('HLEN', INBOUND_KEY .. queue.id)
  end
end

local function look_at_all()
  for _, session in pairs(sessions) do
    if session then
      look_at_parts(session)
    end
  end
  for _, group in pairs(groups) do
    if group then
      call('HLEN', group.key)
    end
  end
  for _, other in ipairs(others) do
    call(other[1], other[2])
  end
  if news[1] then
    call('XLEN', FEED)
    call('GET', FEED_END)
    call('GET', FEED_BYTES)
  end
  for name, box in pairs(mail) do
    if box and box.frames[1] then
      call('XLEN', INBOX .. name .. ':' .. digits(box.token))
    end
  end
  for _, command in ipairs(commands) do
    call('XLEN', CONTROL .. command[1] .. ':' .. digits(command[2]))
  end
end

local function write_session(client_id, session)
  local before, raw = stored_sessions[client_id], pack(session.head)
  if session.has_new_details then
    call('HSET', SESSION .. client_id, 'h', raw, 'd', session.details)
  elseif raw ~= before.raw then
    call('HSET', SESSION .. client_id, 'h', raw)
  end
  if next(session.changed) ~= nil then
    write_hash(session.key, session.changed)
  end
  if next(session.received) ~= nil then
    write_set(RECEIVED_KEY .. session.id, session.received)
  end
  if next(session.taken) ~= nil then
    write_set(TAKEN_KEY .. session.id, session.taken)
  end
  if next(session.subscriptions) ~= nil then
    write_hash(SUBSCRIBED_KEY .. session.id, session.subscriptions)
  end
  if next(session.inbound) ~= nil then
    write_hash(INBOUND_KEY .. session.id, session.inbound)
  end
end

local function write_group(name, group)
  local before, raw = stored_groups[name], pack(group.head)
  if not before or raw ~= before.raw then
    call('SET', GROUP .. name, raw)
  end
  write_hash(group.key, group.changed)
end

local function write_all()
  for _, command in ipairs(commands) do
    command_to(unpack(command))
  end
  if unlinked[1] then
    call_all('UNLINK', unlinked[1], unlinked)
  end
  for client_id, session in pairs(sessions) do
    if session then
      write_session(client_id, session)
    end
  end
  for name, group in pairs(groups) do
    if group then
      write_group(name, group)
    end
  end
  for _, other in ipairs(others) do
    call(other[3], other[2], unpack(other[4]))
  end
  if last_ordinal then
    call('SET', ORDINALS, digits(last_ordinal))
  end
end

-- Write everything. `origin` is the node whose call this is. Returns the position of its entry in the feed, or 0.
local function flush(origin)
  for client_id, session in pairs(sessions) do
    prepare_session(client_id, session)
  end
  for name, group in pairs(groups) do
    prepare_group(name, group)
  end
  prepare_retained()
  prepare_totals()
  look_at_all()
  -- Nothing fails below this line.
  local position = tell_feed(origin)
  send_mail()
  write_all()
  return position
end
