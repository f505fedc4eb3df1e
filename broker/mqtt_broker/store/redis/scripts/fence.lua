-- End another node's token if its lease stands where it was seen. ARGV: own node, own token, node, token, renewals.
-- Returns 1 if it was ended.
local own, own_token, node, token, renewals = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if not is_current(own, tonumber(own_token)) then
  return fenced(own, own_token)
end
local lease = lease_of(node)
if not lease or lease.token ~= token or lease.renewals ~= renewals or not is_current(node, token) then
  return 0
end
let_go(node)
tell_feed(own)
return 1
