-- Renew the own lease, and trim the feed. ARGV: time, node, token, feed position applied, facts, entries kept, entries
-- at most, bytes in place of entries for both, and what the caller believes the time to be, "" = it does not know.
-- Returns the store's time, the clock's offset, and all leases as name and value in turns.
tell_time(ARGV[1])
local UNCOUNTED_MAX = 4 -- entries in a row that do not tell their bytes
local node, token, applied, facts = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local kept, most, bytes_kept, bytes_most = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local own = lease_of(node)
if not own or own.token ~= tonumber(token) or not is_current(node, tonumber(token)) then
  return fenced(node, token)
end
call('HSET', LEASES, node, token .. ' ' .. digits(own.renewals + 1) .. ' ' .. applied .. ' ' .. facts)

-- Below what everybody has applied, but not so far that a node which is loading its snapshot loses the thread. One that
-- lags by more than the most finds a hole, and joins anew.
local leases = call('HGETALL', LEASES)
local stop, total = tonumber(call('GET', FEED_END) or 0), tonumber(call('GET', FEED_BYTES) or 0)

-- The first entry from `position` on that tells its bytes: its position, and how many bytes came after it.
local function entry_from(position)
  for _, entry in ipairs(call('XRANGE', FEED, digits(position) .. '-0', '+', 'COUNT', UNCOUNTED_MAX)) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'b' then
        return tonumber(string.match(entry[1], '^%d+')), total - tonumber(entry[2][i + 1])
      end
    end
  end
  return stop, 0
end

-- A position behind which at most so many bytes stand; 0 where all of them do.
local function before_last(bytes)
  local low, after = entry_from(0)
  if after <= bytes then
    return 0
  end
  local high = stop
  while low + 1 < high do -- more than `bytes` after low, not after high
    local middle = math.floor((low + high) / 2)
    local position
    position, after = entry_from(middle)
    if after > bytes then
      low = math.max(position, middle)
    else
      high = middle
    end
  end
  return high
end

local floor = math.max(stop - kept, before_last(bytes_kept))
for i = 1, #leases, 2 do
  floor = math.min(floor, lease_of(leases[i]).applied)
end
floor = math.max(floor, stop - most, before_last(bytes_most))
if floor > 0 then
  call('XTRIM', FEED, 'MINID', digits(floor + 1) .. '-0')
end
local believed = tonumber(ARGV[10])
if believed and math.abs(now() - believed) <= DRIFT_S_MAX then
  call('HSET', P .. 'clock', 'seen', time_text()) -- so that whoever comes can tell a jump of the server's clock
end
return { time_text(), call('HGET', P .. 'clock', 'offset') or '0', leases }
