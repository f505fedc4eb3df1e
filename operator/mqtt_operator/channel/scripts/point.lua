#!lua
-- If the policy's parts are there: point at them, tell the nodes, and let go of parts that nobody reads any more.
-- KEYS: policy, parts written, feed, end of the feed, world.
-- ARGV: revision, the operator's number, digest, what a part's key starts with, the world's id, "1" if a store that was
-- rolled back is accepted, the key of the generation that nodes have seen (no KEY: we may only read it), digests of the
-- parts...
-- Answers {state, revision, number, generation}: as they stood in the store; generation 0 if none had to be accepted.
local policy, written, feed, feed_end, world = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local revision, fence, digest, prefix = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local FIRST_PART = 8
local now = redis.call('HMGET', policy, 'revision', 'fence', 'digest', 'parts')
local before = {tonumber(now[1] or '-1'), tonumber(now[2] or '0')}
local accepted = 0

local function answer(state)
  return {state, before[1], before[2], accepted}
end

local here = redis.call('HMGET', world, 'id', 'generation')
if here[1] ~= ARGV[5] then
  return answer('world')
end
if before[2] > fence then
  return answer('fenced')
end
-- Nodes that found the store older than what they knew wait for this.
local generation = tonumber(redis.call('GET', ARGV[7]) or '0')
if generation > tonumber(here[2] or '0') then
  accepted = generation
  if ARGV[6] ~= '1' then
    return answer('older store')
  end
  redis.call('HSET', world, 'generation', string.format('%.0f', generation))
end
if before[1] == revision and now[3] == digest then
  return answer('same')
end
if before[1] >= revision then
  return answer('older')
end

local parts, wanted = {}, {}
for number = FIRST_PART, #ARGV do
  if redis.call('EXISTS', prefix .. ARGV[number]) == 0 then
    return answer('parts')
  end
  parts[#parts + 1] = ARGV[number]
  wanted[ARGV[number]] = true
end

redis.call('HSET', policy, 'revision', ARGV[1], 'fence', ARGV[2], 'digest', digest, 'parts', table.concat(parts, ' '))
-- A node may be reading the parts of the revision before: they go with the next one.
local former = now[4] or ''
for part in former:gmatch('%S+') do
  wanted[part] = true
end
for _, part in ipairs(redis.call('SMEMBERS', written)) do
  if not wanted[part] then
    redis.call('UNLINK', prefix .. part)
    redis.call('SREM', written, part)
  end
end
-- The layout of a feed entry is the nodes': origin "" is an operator, kind P a policy, framed by the payload's length.
local position = string.format('%.0f', redis.call('INCR', feed_end))
redis.call('XADD', feed, position .. '-0', 'o', '', 'c', 'P' .. struct.pack('>I4', #ARGV[1]) .. ARGV[1])
return answer('written')
