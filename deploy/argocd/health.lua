-- Health of Cortex's resources for Argo CD: put it into the ConfigMap argocd-cm under
-- resource.customizations.health.cortex.dev_RealtimeAPI, and the same for
-- TrafficSplitter, AsyncAPI, BatchAPI, TaskAPI, BatchJob and TaskJob.
local health = {status = "Progressing", message = "not looked at yet"}
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
if found.Ready ~= nil then
  health.message = found.Ready.message
end
if found.Stalled ~= nil and found.Stalled.status == "True" then
  health.status = "Degraded"
elseif found.Ready ~= nil and found.Ready.status == "True" then
  health.status = "Healthy"
end
return health
