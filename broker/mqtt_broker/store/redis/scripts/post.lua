-- Append messages of QoS 0 to inboxes. ARGV: own node, own token, bytes an inbox may hold, then for each message: node,
-- token, body, forward.
local own, own_token, bytes_max = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not is_current(own, tonumber(own_token)) then
  return fenced(own, own_token)
end
for i = 4, #ARGV, 4 do
  forward_to(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], false, bytes_max)
end
send_mail()
return 1
