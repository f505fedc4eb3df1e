-- Append messages of QoS 0 to inboxes. ARGV: the time, own node, own token, bytes an inbox may hold, then for each message:
-- node, token, body, forward. Returns 0, and nothing is appended, if it took too long to get here: newer ones of the same
-- publisher may have come by another way.
tell_time(ARGV[1])
local own, own_token, bytes_max = ARGV[2], ARGV[3], tonumber(ARGV[4])
if not is_current(own, tonumber(own_token)) then
  return fenced(own, own_token)
end
if is_late() then
  return 0
end
for i = 5, #ARGV, 4 do
  forward_to(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], false, bytes_max)
end
send_mail()
return 1
