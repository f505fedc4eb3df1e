-- Entries of a session's queue. ARGV: client id, incarnation, after, how many, bytes, and places to look at, at most;
-- epoch, 0 = any. Whose connection is over reads nothing: what came after it is not for it to send.
-- Returns { where to go on from, 0 = there is no more to read now, then sequence, value and 1 if received, of each }.
local session = at_incarnation(ARGV[1], tonumber(ARGV[2]), false)
local epoch = tonumber(ARGV[7])
if not session or epoch ~= 0 and (epoch ~= session.head[EPOCH] or session.head[OWNER] == '') then
  return { 0 }
end
local head, places, values = session.head, {}, {}
local most, left = tonumber(ARGV[4]), tonumber(ARGV[5])
local is_full = false
local from = walk(session, tonumber(ARGV[3]) + 1, head[LAST], math.max(1, most), function(place, value)
  left = left - size_of(value)
  is_full = left < 0 and #places > 0
  if not is_full then
    places[#places + 1] = place
    values[#values + 1] = value
  end
  is_full = is_full or #places >= most
  return is_full
end, tonumber(ARGV[6]))
local answer = { (is_full or from > head[LAST]) and 0 or from }
for i, place in ipairs(places) do
  answer[#answer + 1] = place
  answer[#answer + 1] = values[i]
  answer[#answer + 1] = head[RECEIVED] > 0 and call('SISMEMBER', RECEIVED_KEY .. session.id, place) or 0
end
return answer
