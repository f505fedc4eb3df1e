-- Forget what a node has taken care of. ARGV: node, token, inbox position, id of the first control entry to keep.
local node, token, position, control = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if not is_current(node, tonumber(token)) then
  return fenced(node, token)
end
local inbox = INBOX .. node .. ':' .. token
if position > 0 then
  local last = call('XREVRANGE', inbox, digits(position) .. '-0', '-', 'COUNT', 1)[1]
  if last then
    call('HSET', NODE .. node, 'inbox_done', last[2][2])
    call('XTRIM', inbox, 'MINID', digits(position + 1) .. '-0')
  end
end
call('XTRIM', CONTROL .. node .. ':' .. token, 'MINID', control)
return 1
