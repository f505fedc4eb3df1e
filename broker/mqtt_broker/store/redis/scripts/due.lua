-- What has come due. ARGV: the time or "", node, how many of each at most.
-- Returns { next moment as text or "", removed topics, { client id, head, details } of each will, { client id,
-- incarnation } of each expiry }.
tell_time(ARGV[1])
local SPREAD_S_MAX = 604800 -- whoever has not sent the rest of a message after a week starts anew
local most = tonumber(ARGV[3])

local function due_in(key, ago)
  return call('ZRANGEBYSCORE', key, '-inf', string.format('%.17g', now() - ago), 'LIMIT', 0, most)
end

for _, token in ipairs(due_in(SPREADS, SPREAD_S_MAX)) do
  unlinked[#unlinked + 1] = SPREAD .. token
  also('ZCARD', SPREADS, 'ZREM', token)
end
local topics, wills, expiries = due_in(RETAINED_DUE, 0), {}, {}
for _, topic in ipairs(topics) do
  forget_retained(topic)
end
for _, client_id in ipairs(due_in(WILLS, 0)) do
  local at = call('HMGET', SESSION .. client_id, 'h', 'd')
  wills[#wills + 1] = { client_id, at[1], at[2] }
end
for _, client_id in ipairs(due_in(EXPIRIES, 0)) do
  local session = find(client_id)
  expiries[#expiries + 1] = session and { client_id, session.head[ID] } or nil
end

local next_at
for _, key in ipairs({ WILLS, EXPIRIES, RETAINED_DUE }) do
  local ahead = call('ZRANGEBYSCORE', key, string.format('(%.17g', now()), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if ahead[2] then
    next_at = math.min(next_at or math.huge, tonumber(ahead[2]))
  end
end
if #topics == most or #wills == most or #expiries == most then
  next_at = now() -- there may be more: ask again when these are done
end
flush(ARGV[2])
return { next_at and string.format('%.17g', next_at) or '', topics, wills, expiries }
