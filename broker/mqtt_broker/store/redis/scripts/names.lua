-- Names of keys, and the store's clock. Every script that knows sessions or nodes begins with this text.
--
-- KEYS[1] is what every key starts with (`{prefix}:d:`). A script that is told of the time hands that to `tell_time` first.
local P = KEYS[1]
local call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack

local FEED, FEED_END, FEED_BYTES = P .. 'feed', P .. 'feed_end', P .. 'feed_bytes'
local NODE, INBOX, CONTROL = P .. 'node:', P .. 'inbox:', P .. 'control:'

local DRIFT_S_MAX = 2 -- beyond it the server's clock has jumped, or a call was long on its way
local clock, estimate
local is_off = false -- the two are far apart

-- "": the server's clock. "~12.5": the same, as long as it agrees with this estimate of the caller's. "12.5": this time.
local function tell_time(text)
  if string.sub(text, 1, 1) == '~' then
    estimate = tonumber(string.sub(text, 2))
  else
    clock = tonumber(text)
  end
end

local function now()
  if not clock then
    local time = call('TIME')
    clock = tonumber(time[1]) + tonumber(time[2]) / 1e6 + tonumber(call('HGET', P .. 'clock', 'offset') or 0)
    if estimate and math.abs(clock - estimate) > DRIFT_S_MAX then
      clock, is_off = estimate, true
    end
  end
  return clock
end

-- True if the caller's estimate is no longer true: whatever is only worth something at once is worth nothing now.
local function is_late()
  now()
  return is_off
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
