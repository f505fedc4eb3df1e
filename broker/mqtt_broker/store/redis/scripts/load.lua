-- A slice of what a starting node must know. ARGV: the time or "", what, cursor, about how many.
-- Returns { next cursor, items }.
tell_time(ARGV[1])
local what, cursor, count = ARGV[2], ARGV[3], ARGV[4]

-- { client id, head, details, how many subscriptions, these, then packet ids }
local function session_item(client_id)
  local session = living(client_id)
  if not session then
    return nil
  end
  local id = session.id
  local blobs = session.head[SUBSCRIBED] > 0 and call('HVALS', SUBSCRIBED_KEY .. id) or {}
  local item = { client_id, stored_sessions[client_id].raw, details_of(session), #blobs }
  for _, blob in ipairs(blobs) do
    item[#item + 1] = blob
  end
  local inbound = session.head[INBOUND] > 0 and call('HGETALL', INBOUND_KEY .. id) or {}
  for i = 1, #inbound, 2 do
    if inbound[i + 1] == '' then
      item[#item + 1] = tonumber(inbound[i])
    end
  end
  return item
end

local function group_item(name)
  local raw = call('GET', GROUP .. name)
  local at = name:find('\0', 1, true)
  return raw and { name:sub(1, at - 1), name:sub(at + 1), unpacked(raw)[MESSAGES] } or nil
end

local page, items = nil, {}
if what == 'sessions' then
  page = call('SSCAN', SESSIONS, cursor, 'COUNT', count)
  for _, client_id in ipairs(page[2]) do
    items[#items + 1] = session_item(client_id)
  end
elseif what == 'groups' then
  page = call('SSCAN', GROUPS, cursor, 'COUNT', count)
  for _, name in ipairs(page[2]) do
    items[#items + 1] = group_item(name)
  end
else
  page = call('HSCAN', RETAINED, cursor, 'COUNT', count)
  for i = 1, #page[2], 2 do
    if struct.unpack('>d', page[2][i + 1], 9) > now() then
      items[#items + 1] = page[2][i]
    end
  end
end
return { page[1], items }
