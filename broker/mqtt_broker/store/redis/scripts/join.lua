-- Take a node's name: earlier holders are fenced. ARGV: node, key of the world, id of the world.
-- Returns the token and the generation; error WORLD if this is not the world asked for, or laid out in another form.
local node, world_key, wanted = ARGV[1], ARGV[2], ARGV[3]
local FORM = 1 -- of all that lies under P. Who reads another one would take it for damage, and must not write beside it

local world = call('HMGET', world_key, 'id', 'generation')
if not world[1] then
  return redis.error_reply('WORLD this store holds no world, and ' .. wanted .. ' is expected: it is new, emptied or another')
end
if world[1] ~= wanted then
  return redis.error_reply('WORLD this store is world ' .. world[1] .. ', and ' .. wanted .. ' is expected')
end
local generation = call('GET', GENERATION) or '0'
if tonumber(world[2] or 0) < tonumber(generation) then
  return redis.error_reply('WORLD this store was rolled back: it serves once the operator has accepted generation ' .. generation)
end

local form = call('GET', P .. 'form')
if form and form ~= tostring(FORM) then
  return redis.error_reply('WORLD this store is laid out in form ' .. form .. ', and this release reads form ' .. FORM
    .. ': go back to the release that wrote it')
end
call('SET', P .. 'form', FORM)

let_go(node)
tell_feed(node)
local token = digits(ordinal())
call('DEL', NODE .. node)
call('HSET', NODE .. node, 'token', token, 'number', '0')
call('SADD', NODES, node)
return { token, generation }
