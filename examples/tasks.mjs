// tasks.mjs: two job types in JavaScript.
//
//     offloadd --program 'node examples/tasks.mjs'
//     offload run is_prime n=1000003
//     offload run squares start=0 stop=1000000000 --chunks 8
import { cancelled, task } from "offload";

task("is_prime", { n: "integer" }, ({ n }) => {
  if (n < 2)
    return false;
  const [two, one] = typeof n === "bigint" ? [2n, 1n] : [2, 1];
  for (let d = two; d * d <= n; d += one)
    if (n % d == 0) // of a number or a BigInt
      return false;
  return true;
}, { summary: "Whether a number is prime" });

// Chunks run side by side, on all workers. Each is a call with its own start and stop.
task("squares", { start: "integer", stop: "integer" }, ({ start, stop }) => {
  let sum = 0n;
  for (let n = BigInt(start); n < BigInt(stop); n++) {
    if (n % 65536n === 0n && cancelled())
      throw new Error("cancelled");
    sum += n * n;
  }
  return sum;
}, {
  summary: "The sum of the squares of [start, stop)",
  *split({ start, stop }, wished) { // wished: how many chunks the client wants; 0: as many as is good
    const [from, to] = [BigInt(start), BigInt(stop)];
    const length = to > from ? to - from : 0n;
    const chunks = BigInt(Math.min(wished || Number(length / 1000000n) + 1, 4096));
    for (let i = 0n; i < chunks; i++)
      yield { start: from + (length * i) / chunks, stop: from + (length * (i + 1n)) / chunks };
  },
  merge: (parts) => parts.reduce((sum, part) => sum + BigInt(part), 0n), // a large part comes as a string
});
