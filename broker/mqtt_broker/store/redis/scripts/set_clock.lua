-- Correct the store's clock. ARGV: the offset that was seen, the new one. Returns 1, or 0 if it is another by now.
if (call('HGET', P .. 'clock', 'offset') or '0') ~= ARGV[1] then
  return 0
end
call('HSET', P .. 'clock', 'offset', ARGV[2])
return 1
