-- Who is in the cluster: names and tokens, leases, and the world they are all in.
--
-- Node hash `P node:<name>`: `token` (0 = over), `number` and `results` of its last batch, the counters of its inbox
-- (streams.lua), `entered` (the feed position of its entry). A name's hash stays when its token is over: one that is
-- missing has been lost.
-- Leases, hash `P leases`: name -> "<token> <renewals> <feed position applied> <facts as JSON>".
-- `P form`: how all of this is laid out; a release that changes it counts it up. `P nodes`: every name that ever joined.
-- `P generation`: how often this world was seen to be rolled back.
local LEASES, NODES, GENERATION, ORDINALS = P .. 'leases', P .. 'nodes', P .. 'generation', P .. 'ordinals'
local GENERATION_ORDINALS = 2 ^ 40 -- each generation counts on its own: tokens and epochs of two never meet

local function fenced(name, token)
  return redis.error_reply('FENCED the token ' .. token .. ' of node ' .. name .. ' is over')
end

local function lease_of(name)
  local lease = call('HGET', LEASES, name)
  if not lease then
    return nil
  end
  local token, renewals, applied = string.match(lease, '^(%d+) (%d+) (%d+) ')
  return { token = tonumber(token), renewals = tonumber(renewals), applied = tonumber(applied) }
end

-- The feed says that `name` left, if it had entered; its lease and streams go. Its token is over after that.
local function let_go(name)
  local token = call('HGET', NODE .. name, 'token')
  if call('HDEL', LEASES, name) == 1 and token then
    tell('L', token .. ' ' .. name)
  end
  if token and token ~= '0' then
    call('UNLINK', INBOX .. name .. ':' .. token, CONTROL .. name .. ':' .. token)
    call('HSET', NODE .. name, 'token', '0')
  end
end

local function time_text()
  return string.format('%.6f', now())
end
