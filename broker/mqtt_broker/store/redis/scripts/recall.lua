-- Whether a batch was done that the server now refuses for want of memory. ARGV: node, token, number.
-- Returns its results, or 0.
local key = NODE .. ARGV[1]
local at = call('HMGET', key, 'token', 'number', 'results')
if at[1] ~= ARGV[2] then
  return redis.error_reply('FENCED the token ' .. ARGV[2] .. ' of node ' .. ARGV[1] .. ' is over')
end
if at[2] ~= ARGV[3] or not at[3] then
  return 0
end
call('HINCRBY', key, 'repeats', 1) -- a write, so that a WAIT after it covers what the batch wrote
return unpacked(at[3])
