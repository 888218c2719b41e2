// fastify_piscina.mjs PORT: Fastify, with a pool of threads by Piscina. See bench/peers/run.

import { availableParallelism } from 'node:os'
import Fastify from 'fastify'
import { Piscina } from 'piscina'

const WORKERS = availableParallelism()
const PIECE = 4_000_000 // numbers: a piece of a long count of primes takes some 20 ms, as a chunk of offload does

const pool = new Piscina({
  filename: new URL('./jobs.mjs', import.meta.url).href,
  minThreads: WORKERS,
  maxThreads: WORKERS
})
const app = Fastify()

// A long range goes to the pool in pieces, as many at a time as the pool has threads.
async function countPrimes(start, stop) {
  if (stop - start <= PIECE) return pool.run({ start, stop }, { name: 'primes' })
  let next = start
  async function lane() {
    let count = 0
    while (next < stop) {
      const piece = { start: next, stop: Math.min(next + PIECE, stop) }
      next = piece.stop
      count += await pool.run(piece, { name: 'primes' })
    }
    return count
  }
  const counts = await Promise.all(Array.from({ length: WORKERS }, lane))
  return counts.reduce((a, b) => a + b)
}

async function sumSquares(start, stop, chunks) {
  const bound = (i) => start + Math.floor(((stop - start) * i) / chunks)
  const sums = await Promise.all(
    Array.from({ length: chunks }, (_, i) => pool.run({ start: bound(i), stop: bound(i + 1) }, { name: 'squares' }))
  )
  return sums.reduce((a, b) => a + b)
}

const number = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER }
const schema = {
  body: {
    type: 'object',
    required: ['type', 'params'],
    properties: {
      type: { enum: ['primes', 'sum'] },
      params: { type: 'object', required: ['start', 'stop'], properties: { start: number, stop: number } },
      options: { type: 'object', properties: { chunks: { type: 'integer', minimum: 1, maximum: 1000 } } }
    }
  },
  response: {
    200: {
      type: 'object',
      properties: {
        result: { type: 'object', properties: { count: { type: 'integer' }, sum: { type: 'string' } } }
      }
    }
  }
}

app.post('/v1/jobs', { schema }, async (request) => {
  const { type, params, options } = request.body
  if (type === 'primes') return { result: { count: await countPrimes(params.start, params.stop) } }
  return { result: { sum: String(await sumSquares(params.start, params.stop, options?.chunks ?? 1)) } }
})

app.get('/health', async () => ({ status: 'ok' }))

await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) })
