-- Append to control streams. ARGV: own node, own token, kind, payload, then node and token in turns; token "" = whoever
-- holds the name now. One that is over gets nothing.
local own, own_token, kind, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_current(own, tonumber(own_token)) then
  return fenced(own, own_token)
end
for i = 5, #ARGV, 2 do
  local current = tonumber(call('HGET', NODE .. ARGV[i], 'token') or 0)
  if current > 0 and (ARGV[i + 1] == '' or tonumber(ARGV[i + 1]) == current) then
    command_to(ARGV[i], current, kind, payload)
  end
end
return 1
