-- Retained values that have not expired. ARGV: the time or "", and the topics.
tell_time(ARGV[1])
local found = {}
for i = 2, #ARGV do
  local value = call('HGET', RETAINED, ARGV[i])
  if value and struct.unpack('>d', value, 9) > now() then
    found[#found + 1] = value
  end
end
return found
