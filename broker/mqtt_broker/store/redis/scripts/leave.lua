-- End the own lease and token. ARGV: node, token. A token that is over already has nothing to end.
local node, token = ARGV[1], ARGV[2]
if is_current(node, tonumber(token)) then
  let_go(node)
  tell_feed(node)
end
return 1
