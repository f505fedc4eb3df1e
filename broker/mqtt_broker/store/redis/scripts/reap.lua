-- Let go of sessions whose owner's token is over. ARGV: the time or "", node, token, how many at most, "own" = only
-- those that earlier tokens of this node's name owned. Returns how many were looked at; 0: there is none left.
tell_time(ARGV[1])
me, my_token = ARGV[2], tonumber(ARGV[3])
local left, is_own = tonumber(ARGV[4]), ARGV[5] == 'own'
if not is_current(me, my_token) then
  return redis.error_reply('FENCED the token ' .. ARGV[3] .. ' of node ' .. me .. ' is over')
end
local looked_at = 0
local owners = call('HGETALL', OWNERS)
for i = 1, #owners, 2 do
  local token, name = tonumber(owners[i]), owners[i + 1]
  if left > 0 and (name == me or not is_own) and not is_current(name, token) then
    local key = OWNED .. owners[i]
    local client_ids = call('SRANDMEMBER', key, left)
    for _, client_id in ipairs(client_ids) do
      local session = find(client_id)
      if session and session.head[TOKEN] == token then
        abandon(session)
      else
        also('SCARD', key, 'SREM', client_id)
      end
    end
    if #client_ids == 0 then
      also('HLEN', OWNERS, 'HDEL', owners[i])
    end
    left = left - #client_ids
    looked_at = looked_at + #client_ids
  end
end
flush(me)
return looked_at
