-- Names of keys, and the store's clock. Every script that knows sessions or nodes begins with this text.
--
-- KEYS[1] is what every key starts with (`{prefix}:d:`). A script that is given a time sets `clock` to it first.
local P = KEYS[1]
local call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack

local FEED, FEED_END = P .. 'feed', P .. 'feed_end'
local NODE, INBOX, CONTROL = P .. 'node:', P .. 'inbox:', P .. 'control:'

local clock

local function now()
  if not clock then
    local time = call('TIME')
    clock = tonumber(time[1]) + tonumber(time[2]) / 1e6 + tonumber(call('HGET', P .. 'clock', 'offset') or 0)
  end
  return clock
end

-- A number for something new: token, incarnation, epoch, group. Never given twice in a world's life.
local function ordinal()
  return call('INCR', P .. 'ordinals')
end

-- An integer of any size as text: `..` would write one above 1e14 with an exponent.
local function digits(number)
  return string.format('%.0f', number)
end

-- True while `token` is the one that node `name` joined with, and was neither fenced nor left.
local function is_current(name, token)
  return tonumber(call('HGET', NODE .. name, 'token') or 0) == token
end
