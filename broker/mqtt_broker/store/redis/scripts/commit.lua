-- One batch of one node. ARGV: the time or "", a MessagePack array of [node, token, number, bound of inboxes in bytes,
-- operations, tokens of nodes that can be told of what had to go], and the blobs that operations name by index.
tell_time(ARGV[1])
local number, operations, tokens
me, my_token, number, inbox_bytes_max, operations, tokens = unpack(unpacked(ARGV[2]))
for _, token in ipairs(tokens) do
  tells_evicted[token] = true
end
local node_key = NODE .. me

local at = call('HMGET', node_key, 'token', 'number')
local last = tonumber(at[2] or -1)
if tonumber(at[1] or -1) ~= my_token then
  return redis.error_reply('FENCED the token ' .. digits(my_token) .. ' of node ' .. me .. ' is over')
end
if number == last and last > 0 then
  -- A write, so that a WAIT after it covers what the batch wrote when it was done.
  call('HINCRBY', node_key, 'repeats', 1)
  return unpacked(call('HGET', node_key, 'results'))
end
if number ~= last + 1 then
  return redis.error_reply('FENCED batch ' .. number .. ' of node ' .. me .. ' after batch ' .. last)
end

local results = {}
for i, operation in ipairs(operations) do
  local number_of_kind = operation[1]
  if not handlers[number_of_kind] then
    installers[number_of_kind]()
  end
  results[i] = handlers[number_of_kind](operation)
end
for _, finish_up in pairs(finishers) do
  finish_up()
end
local position = flush(me)
for _, owed in ipairs(owing) do
  local session, filter = owed[1], owed[2]
  if sessions[session.client_id] == session and session.subscriptions[filter .. '\0'] then
    call('HSET', OWED_KEY .. session.id, filter, digits(position))
  end
end
for _, result in ipairs(positioned) do
  result[2] = position
end
if claimed[1] then
  local feed_end = position > 0 and position or tonumber(call('GET', FEED_END) or 0)
  local inbox_end = tonumber(call('HGET', node_key, 'inbox_end') or 0)
  for _, result in ipairs(claimed) do
    result[CLAIMED_POSITION], result[CLAIMED_INBOX_END] = feed_end, inbox_end
  end
end
call('HSET', node_key, 'number', number, 'results', pack(results))
local names = crowded(inbox_bytes_max)
if names[1] then
  results[#results + 1] = names -- behind the last result: true of this moment only, so it is not kept
end
return results
