// client.mjs: a program that has the tasks of tasks.mjs run by a service.
//
//     offloadd --program 'node examples/tasks.mjs'
//     node examples/client.mjs
//
// The service is at $OFFLOAD_URL, else at http://127.0.0.1:8080.
import { Client, InvalidParams } from "offload/client";

const client = new Client();

// One call.
console.log("1000003 is prime:", await client.run("is_prime", { n: 1000003 }));

// A job whose progress is shown. Integers beyond 2^53 come as strings.
const job = await client.submit("squares", { start: 0, stop: 3000000 }, { chunks: 8 });
for await (const { event, data } of job.events())
  if (event === "progress")
    console.log(`squares: ${data.done} of ${data.total} chunks`);
console.log("the sum of the squares:", BigInt(await job.result()));

// Many calls: the results in order, or each when it has ended.
const numbers = Array.from({ length: 1000 }, (_, i) => 100000 + i);
const answers = await client.map("is_prime", numbers.map((n) => ({ n })));
console.log("primes in order:", numbers.filter((_, i) => answers[i]).slice(0, 3));
let count = 0;
for await (const { status, result } of client.stream("is_prime", { n: numbers })) // by columns
  count += status === "succeeded" && result;
console.log("primes in all:", count);

// What fails.
try {
  await client.run("is_prime", { n: "seven" });
} catch (error) {
  if (!(error instanceof InvalidParams))
    throw error;
  console.log("wrong:", error.pointer);
}

// What is not wanted any more: the signal cancels the job at the service.
try {
  await client.run("squares", { start: 0, stop: 10 ** 12 }, { signal: AbortSignal.timeout(200) });
} catch (error) {
  console.log("cancelled:", error.name);
}
