-- End the own lease and token. ARGV: node, token. A token that is over already has nothing to end.
local node, token = ARGV[1], ARGV[2]
if is_current(node, tonumber(token)) then
  let_go(node)
  if call('HLEN', LEASES) == 0 then
    call('HDEL', P .. 'clock', 'seen') -- nobody is left who could correct a clock: whoever comes believes the server's
  end
  tell_feed(node)
end
return 1
