-- The health of an MQTTBroker, MQTTClient or TopicPermission for Argo CD: one script for all three kinds.
local function health(status, message)
  return { status = status, message = message }
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "It is being deleted.")
end

local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

local function is(name, status)
  return conditions[name] ~= nil and conditions[name].status == status
end

if is("Paused", "True") then
  return health("Suspended", conditions.Paused.message)
end
local ready = conditions.Ready
if ready == nil or ready.status == "Unknown" then
  return health("Progressing", ready ~= nil and ready.message or "Waiting for the operator.")
end
local seen = ready.observedGeneration or obj.status.observedGeneration
if seen ~= nil and obj.metadata.generation ~= nil and seen ~= obj.metadata.generation then
  return health("Progressing", "The operator has not seen the last change yet.")
end
if is("Stalled", "True") then
  return health("Degraded", conditions.Stalled.message)
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
for _, name in ipairs({ "Accepted", "ResolvedRefs" }) do
  if is(name, "False") then
    return health("Degraded", conditions[name].message)
  end
end
-- A client or permission that is sound becomes ready when its broker does; a broker says itself whether it works on it.
if conditions.Reconciling == nil or is("Reconciling", "True") then
  return health("Progressing", ready.message)
end
return health("Degraded", ready.message)
