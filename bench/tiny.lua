-- tiny.lua: what wrk sends: the tiny job. At the end it prints "requests/s answers errors" for bench/run.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"type": "primes", "params": {"start": 0, "stop": 1000}}'

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("%.1f %d %d\n", summary.requests / summary.duration * 1e6, summary.requests,
        e.connect + e.read + e.write + e.status + e.timeout))
end
