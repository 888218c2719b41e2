-- texts.lua: what wrk sends: the lines of the file that follows "--" on its command line are bodies, in their order, over
-- and over. At the end it prints "requests/s answers errors" for bench/embeddings/run.
local bodies, at = {}, 0

function init(args)
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    for line in io.lines(args[1]) do
        bodies[#bodies + 1] = wrk.format(nil, nil, nil, line)
    end
end

function request()
    at = at % #bodies + 1
    return bodies[at]
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("%.1f %d %d\n", summary.requests / summary.duration * 1e6, summary.requests,
        e.connect + e.read + e.write + e.status + e.timeout))
end
