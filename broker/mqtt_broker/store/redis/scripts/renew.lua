-- Renew the own lease, and trim the feed. ARGV: time, node, token, feed position applied, facts, entries kept, entries
-- at most. Returns the store's time, the clock's offset, and all leases as name and value in turns.
clock = tonumber(ARGV[1])
local node, token, applied, facts = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local kept, most = tonumber(ARGV[6]), tonumber(ARGV[7])

local own = lease_of(node)
if not own or own.token ~= tonumber(token) or not is_current(node, tonumber(token)) then
  return fenced(node, token)
end
call('HSET', LEASES, node, token .. ' ' .. digits(own.renewals + 1) .. ' ' .. applied .. ' ' .. facts)

-- Below what everybody has applied, but not so far that a node which is loading its snapshot loses the thread. One that
-- lags by more than the most finds a hole, and joins anew.
local leases = call('HGETALL', LEASES)
local stop = tonumber(call('GET', FEED_END) or 0)
local floor = stop - kept
for i = 1, #leases, 2 do
  floor = math.min(floor, lease_of(leases[i]).applied)
end
floor = math.max(floor, stop - most)
if floor > 0 then
  call('XTRIM', FEED, 'MINID', digits(floor + 1) .. '-0')
end
return { time_text(), call('HGET', P .. 'clock', 'offset') or '0', leases }
