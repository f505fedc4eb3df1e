-- A node found what it was told to be lost: begin a new generation, in which no token of the old one counts.
-- ARGV: generation that was seen, that of the world, that of the node. Returns the generation now.
local seen, world, own = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local standing = call('GET', GENERATION) or '0'
if standing ~= seen then
  return standing -- somebody was faster
end
local generation = math.max(tonumber(standing), world, own) + 1
call('SET', GENERATION, digits(generation))
local first = math.max(tonumber(call('GET', ORDINALS) or 0), generation * GENERATION_ORDINALS)
call('SET', ORDINALS, digits(first))
for _, node in ipairs(call('SMEMBERS', NODES)) do
  let_go(node)
end
tell_feed('')
return digits(generation)
