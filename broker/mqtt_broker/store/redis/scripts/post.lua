-- Append messages of QoS 0 to inboxes. ARGV: the time, own node, own token, bytes an inbox may hold, then for each message:
-- node, token, body, forward, 0; or for each run: node, token, head, payloads, how many. Returns the nodes whose inboxes
-- are crowded; or 0, and nothing is appended, if it took too long to get here: newer ones of the same publisher may have
-- come by another way.
tell_time(ARGV[1])
local own, own_token, bytes_max = ARGV[2], ARGV[3], tonumber(ARGV[4])
if not is_current(own, tonumber(own_token)) then
  return fenced(own, own_token)
end
if is_late() then
  return 0
end
for i = 5, #ARGV, 5 do
  local name, token, count = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 4])
  if count == 0 then
    forward_to(name, token, ARGV[i + 2], ARGV[i + 3], false, bytes_max)
  else
    forward_run_to(name, token, ARGV[i + 2], ARGV[i + 3], count, false, bytes_max)
  end
end
send_mail()
return crowded(bytes_max)
