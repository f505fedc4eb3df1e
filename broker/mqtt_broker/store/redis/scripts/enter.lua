-- Begin a lease. ARGV: time, node, token, feed position applied, facts. Returns the position of the feed's entry.
local node, token, applied, facts = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not is_current(node, tonumber(token)) then
  return fenced(node, token)
end
local entered = call('HGET', NODE .. node, 'entered')
if entered then
  call('HSET', NODE .. node, 'entered', entered) -- so that a WAIT after this call waits for that entry too
  return entered
end
tell('N', token .. ' ' .. node)
local position = digits(tell_feed(node))
call('HSET', NODE .. node, 'entered', position)
call('HSET', LEASES, node, token .. ' 0 ' .. applied .. ' ' .. facts)
return position
