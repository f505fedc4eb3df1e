-- The three streams: how their entries are laid out and appended.
--
-- A feed or inbox entry has its items in ONE field, `c`: one frame after the other, each a kind of one byte, the
-- payload's length as 4 bytes, big-endian, and the payload. (Not one field per item: Lua cannot pass thousands of
-- arguments.) Below, [..] is a MessagePack array without nil; "" as owner means nobody, "" as group means not shared.
--
-- Feed `P feed`, ids `<position>-0`, position from the counter `P feed_end`. Fields `o` (origin node, "" = an operator),
-- `b` (bytes ever told, this entry included, counted in `P feed_bytes`; not in an operator's) and `c`:
--   S [client id, incarnation, epoch, owner, expiry, n]  subscribed; then one frame d, then n frames u
--   O [client id, incarnation, epoch, owner, expiry]     owned; then one frame d
--   d details of the session (encoding.Details)          u one subscription (encoding.decode_subscription)
--   U [client id, incarnation, filter, group, ...]       unsubscribed, any number of (filter, group)
--   E [client id, incarnation]                           ended
--   R [topic, 1 or 0]                                    retained topic appeared or vanished
--   G [share, filter]                                    backlog of a group
--   P revision in decimal                                policy written
--   N, L "<token> <node>"                                node entered, node left
--
-- Inbox `P inbox:<node>:<token>`, ids `<position>-0`, position kept in the node hash as `inbox_end`. Fields `b` (bytes
-- ever appended, this entry included; in the node hash `inbox_bytes`, what of it was read is `inbox_done`) and `c`:
--   m body: the message (entries.py)                     f a Forward of the last m (MessagePack of the Python value)
--   x [incarnations] that the last f is not for
--   r a run: length of the head, of each payload, and how many they are (4 bytes each, big-endian), head, payloads
--   s [client id, incarnation, sequence]                 stored; then a frame e if the entry comes along
--   e queue entry value (entries.py)                     b [share, filter, turns]  backlog
--   v [client id, incarnation, sequence, ...]            gone from the queue: there was no room
-- What finds no room is counted in the node hash: `dropped_qos0`, `dropped_transient`.
--
-- Control `P control:<node>:<token>`, ids by the server. One field: the kind, and its payload:
--   evict [client id, epoch, claimant node, claimant token]
local ITEM_BYTES = 64 -- what an item of an inbox costs beside its payload, about
local QOS_0_SHARE = 0.75 -- of the inbox's bound: QoS 0 finds no room before others do
local CROWDED_SHARE = 0.5 -- of the same: whoever makes it grow is told, before anything is dropped

local function frame(frames, kind, payload)
  local n = #frames
  frames[n + 1] = kind .. struct.pack('>I4', #payload)
  frames[n + 2] = payload
end

-- What the feed is to be told by this call, in order.
local news = {}

local function tell(kind, payload)
  frame(news, kind, payload)
end

-- Append the one feed entry of this call; its position, or 0 if there was nothing to tell.
local function tell_feed(origin)
  if #news == 0 then
    return 0
  end
  local told = table.concat(news)
  local position, total = call('INCR', FEED_END), call('INCRBY', FEED_BYTES, #told)
  call('XADD', FEED, digits(position) .. '-0', 'o', origin, 'b', digits(total), 'c', told)
  return position
end

-- What inboxes get by this call, by node name. False: nobody holds that name's token.
local mail = {}

local function mailbox(name)
  local box = mail[name]
  if box == nil then
    local at = call('HMGET', NODE .. name, 'token', 'inbox_end', 'inbox_bytes', 'inbox_done')
    local token, total = tonumber(at[1] or 0), tonumber(at[3] or 0)
    box = token > 0 and {
      token = token,
      position = tonumber(at[2] or 0),
      total = total,
      waiting = total - tonumber(at[4] or 0),
      frames = {},
      dropped_qos0 = 0,
      dropped_transient = 0,
    }
    mail[name] = box
  end
  return box
end

local function put_in(box, kind, payload)
  local size = #payload + ITEM_BYTES
  frame(box.frames, kind, payload)
  box.waiting = box.waiting + size
  box.total = box.total + size
end

-- A message for sessions connected to (name, token): `body` and `forward` are blobs. Dropped and counted if over the
-- bound.
-- `had`: incarnations that are left out; false for QoS 0.
local function forward_to(name, token, body, forward, had, bytes_max)
  local box = mailbox(name)
  if not box or box.token ~= token then
    return
  end
  local room = had and bytes_max or bytes_max * QOS_0_SHARE
  if box.waiting + #body + #forward + 2 * ITEM_BYTES <= room then
    put_in(box, 'm', body)
    put_in(box, 'f', forward)
    if had and had[1] then
      put_in(box, 'x', pack(had))
    end
  elseif not had then
    box.dropped_qos0 = box.dropped_qos0 + 1
  else
    box.dropped_transient = box.dropped_transient + 1
  end
end

-- `count` messages for sessions connected to (name, token): what they share is `head`, `payloads` are all of one length.
-- What does not fit, from the last one on, is dropped and counted. `is_kept`: not of QoS 0.
local function forward_run_to(name, token, head, payloads, count, is_kept, bytes_max)
  local box = mailbox(name)
  if not box or box.token ~= token then
    return
  end
  local length, fits = #payloads / count, count
  local left = (is_kept and bytes_max or bytes_max * QOS_0_SHARE) - box.waiting - 2 * ITEM_BYTES - #head
  if left < #payloads then
    fits = left > 0 and length > 0 and math.floor(left / length) or 0
    local kind = is_kept and 'dropped_transient' or 'dropped_qos0'
    box[kind] = box[kind] + count - fits
    payloads = payloads:sub(1, fits * length)
  end
  if fits > 0 then
    put_in(box, 'r', struct.pack('>I4I4I4', #head, length, fits) .. head .. payloads)
  end
end

-- Write what was put into inboxes: one entry for each node.
local function send_mail()
  for name, box in pairs(mail) do
    if box and box.frames[1] then
      box.position = box.position + 1
      local total = digits(box.total)
      local key = INBOX .. name .. ':' .. digits(box.token)
      call('XADD', key, digits(box.position) .. '-0', 'b', total, 'c', table.concat(box.frames))
      call('HSET', NODE .. name, 'inbox_end', digits(box.position), 'inbox_bytes', total)
    end
    for _, kind in ipairs({ 'dropped_qos0', 'dropped_transient' }) do
      if box and box[kind] > 0 then
        call('HINCRBY', NODE .. name, kind, box[kind])
      end
    end
  end
end

-- The names of nodes whose inboxes are crowded, of those that this call wrote to or found full.
local function crowded(bytes_max)
  local names = {}
  for name, box in pairs(mail) do
    if box and box.waiting > bytes_max * CROWDED_SHARE then
      names[#names + 1] = name
    end
  end
  return names
end

-- Append one command to the control stream of (name, token), which the caller knows to be current.
local function command_to(name, token, kind, payload)
  call('XADD', CONTROL .. name .. ':' .. digits(token), '*', kind, payload)
end
