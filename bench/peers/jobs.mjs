// The work of the peer in Node, in plain JavaScript: the functions that Piscina's threads call. See bench/peers/run.

function primesTo(limit) {
  const composite = new Uint8Array(limit + 1)
  const found = []
  for (let n = 2; n <= limit; n++) {
    if (composite[n] === 0) {
      found.push(n)
      for (let m = n * n; m <= limit; m += n) composite[m] = 1
    }
  }
  return found
}

// Two functions for two loops: V8 compiles each by itself, and makes them faster so.
function strike(composite, step, first) {
  for (let at = first; at < composite.length; at += step) composite[at] = 1
}

function countZeros(flags) {
  let count = 0
  for (let i = 0; i < flags.length; i++) count += 1 - flags[i]
  return count
}

// How many primes are in [start, stop): the sieve of Eratosthenes.
export function primes({ start, stop }) {
  const from = Math.max(start, 2)
  if (stop <= from) return 0
  const composite = new Uint8Array(stop - from)
  for (const p of primesTo(Math.floor(Math.sqrt(stop - 1)))) {
    strike(composite, p, Math.max(p * p, Math.ceil(from / p) * p) - from)
  }
  return countZeros(composite)
}

const UNIT = 2 ** 52

// The sum of n * n as a BigInt. The loop adds numbers, which are exact below 2 ** 53, and carries what is over.
export function squares({ start, stop }) {
  let low = 0
  let high = 0
  for (let n = start; n < stop; n++) {
    low += n * n
    if (low >= UNIT) {
      low -= UNIT
      high++
    }
  }
  return BigInt(high) * BigInt(UNIT) + BigInt(low)
}
