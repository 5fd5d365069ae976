-- Numbers the targets, so that no question comes twice: equal ones would be coalesced, and flatter whoever does that.
-- Arguments: the first number, how many subjects, the target with two %d for subject and number, bytes to upload or 0.

local number, subjects, target

function init(arguments)
  number, subjects, target = tonumber(arguments[1]), tonumber(arguments[2]), arguments[3]
  wrk.headers["Authorization"] = "Bearer anna"
  local upload = tonumber(arguments[4])
  if upload > 0 then
    wrk.method, wrk.body = "PUT", string.rep("x", upload)
  end
end

function request()
  number = number + 1
  return wrk.format(nil, string.format(target, number % subjects, number))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answered": %d, "seconds": %f, "p99_ms": %f, "refused": %d, "broken": %d, "late": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(99) / 1e3, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout
  ))
end
