-- Counters. Returns the feed's last position, messages and bytes in queues, retained messages and their bytes.
local totals = call('HMGET', TOTALS, 'messages', 'bytes', 'retained_bytes')
return {
  tonumber(call('GET', FEED_END) or 0),
  tonumber(totals[1] or 0),
  tonumber(totals[2] or 0),
  call('HLEN', RETAINED),
  tonumber(totals[3] or 0),
}
