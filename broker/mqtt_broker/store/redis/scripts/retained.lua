-- Retained messages: one value per topic. Value: feed position of the plan and expiry (infinite if none), both as 8
-- bytes of floating point, and the message.
local RETAINED, RETAINED_DUE = P .. 'retained', P .. 'retained_due'

local retained = {} -- by topic: value and expiry, or false
local retained_bytes = 0

-- Whether there is one, and whether it still counts.
local function retained_at(topic)
  local known = retained[topic]
  if known ~= nil then
    return known and true, known and not (known.expires and known.expires <= now())
  end
  if call('HEXISTS', RETAINED, topic) == 0 then
    return false, false
  end
  local due = call('ZSCORE', RETAINED_DUE, topic)
  return true, not due or tonumber(due) > now()
end

-- Whether there is one whose receivers were planned before `position`.
local function is_retained_before(topic, position)
  local known = retained[topic]
  local value = known and known.value
  if known == nil then
    value = call('HGET', RETAINED, topic)
  end
  return value and struct.unpack('>d', value) < position
end

local function retained_length(topic)
  local known = retained[topic]
  if known == nil then
    return call('HSTRLEN', RETAINED, topic)
  end
  return known and #known.value or 0
end

-- [MQTT-3.3.1-5] Nodes that start leave an expired one out, so what replaces it is new to them.
local function retain(topic, value, expires)
  local _, counts = retained_at(topic)
  retained_bytes = retained_bytes + #value - retained_length(topic)
  retained[topic] = { value = value, expires = expires }
  if not counts then
    tell('R', pack({ topic, 1 }))
  end
end

-- [MQTT-3.3.1-6] [MQTT-3.3.1-7]
local function forget_retained(topic)
  if retained_at(topic) then
    retained_bytes = retained_bytes - retained_length(topic)
    retained[topic] = false
    tell('R', pack({ topic, 0 }))
  end
end
