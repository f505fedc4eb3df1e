#!lua
-- The operator begins: the store gets its identity, or must have the one it was given; the operator gets a number.
-- KEYS: world, policy. ARGV: the world's id, "1" if this store may be new.
-- Answers {state, id found, number, revision of the policy}.
local world, policy = KEYS[1], KEYS[2]
local found = redis.call('HGET', world, 'id')
if not found then
  if ARGV[2] ~= '1' then
    return {'empty', '', 0, -1}
  end
  redis.call('HSETNX', world, 'id', ARGV[1])
  redis.call('HSETNX', world, 'generation', '0')
elseif found ~= ARGV[1] then
  return {'other', found, 0, -1}
end
-- Who begins later writes from now on, and whoever began before does not any more.
local fence = redis.call('HINCRBY', policy, 'fence', 1)
return {'ours', ARGV[1], fence, tonumber(redis.call('HGET', policy, 'revision') or '-1')}
