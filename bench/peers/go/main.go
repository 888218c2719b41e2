// Command peer is net/http with a bounded pool of goroutines: one for each CPU does the work. See bench/peers/run.
//
//	peer PORT
package main

import (
	"encoding/json"
	"log"
	"math"
	"math/big"
	"math/bits"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// piece is how many numbers a piece of a long count of primes has: some 20 ms, as a chunk of offload takes.
const piece = 5_000_000

// The work, in plain Go.

func primesTo(limit int) []int {
	composite := make([]bool, limit+1)
	var found []int
	for n := 2; n <= limit; n++ {
		if composite[n] {
			continue
		}
		found = append(found, n)
		for m := n * n; m <= limit; m += n {
			composite[m] = true
		}
	}
	return found
}

// primes says how many primes are in [start, stop): the sieve of Eratosthenes.
func primes(start, stop int) int {
	if start < 2 {
		start = 2
	}
	if stop <= start {
		return 0
	}
	composite := make([]bool, stop-start)
	for _, p := range primesTo(int(math.Sqrt(float64(stop - 1)))) {
		first := (start + p - 1) / p * p
		if first < p*p {
			first = p * p
		}
		for at := first - start; at < len(composite); at += p {
			composite[at] = true
		}
	}
	count := 0
	for _, c := range composite {
		if !c {
			count++
		}
	}
	return count
}

// squares is the sum of n*n, in 128 bits.
func squares(start, stop int) *big.Int {
	var high, low uint64
	for n := uint64(start); n < uint64(stop); n++ {
		var carry uint64
		low, carry = bits.Add64(low, n*n, 0)
		high += carry
	}
	sum := new(big.Int).SetUint64(high)
	return sum.Lsh(sum, 64).Or(sum, new(big.Int).SetUint64(low))
}

// The pool.

var (
	workers = runtime.GOMAXPROCS(0)
	tasks   = make(chan func())
)

func startPool() {
	for i := 0; i < workers; i++ {
		go func() {
			for task := range tasks {
				task()
			}
		}()
	}
}

// inPool lets the pool call the function, and waits for its result.
func inPool[T any](call func(start, stop int) T, start, stop int) T {
	done := make(chan T, 1)
	tasks <- func() { done <- call(start, stop) }
	return <-done
}

// countPrimes gives a long range to the pool in pieces, as many at a time as the pool has workers. It ends early if the
// client leaves.
func countPrimes(r *http.Request, start, stop int) int {
	if stop-start <= piece {
		return inPool(primes, start, stop)
	}
	var count, next int64
	next = int64(start)
	var lanes sync.WaitGroup
	for i := 0; i < workers; i++ {
		lanes.Add(1)
		go func() {
			defer lanes.Done()
			for r.Context().Err() == nil {
				to := int(atomic.AddInt64(&next, piece))
				from := to - piece
				if from >= stop {
					return
				}
				if to > stop {
					to = stop
				}
				atomic.AddInt64(&count, int64(inPool(primes, from, to)))
			}
		}()
	}
	lanes.Wait()
	return int(count)
}

func sumSquares(start, stop, chunks int) *big.Int {
	sums := make(chan *big.Int, chunks)
	bound := func(i int) int { return start + (stop-start)*i/chunks }
	for i := 0; i < chunks; i++ {
		go func(from, to int) { sums <- inPool(squares, from, to) }(bound(i), bound(i+1))
	}
	total := new(big.Int)
	for i := 0; i < chunks; i++ {
		total.Add(total, <-sums)
	}
	return total
}

// The service.

type job struct {
	Type   string
	Params struct{ Start, Stop int }
	// Options can be left out.
	Options struct{ Chunks int }
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

func submit(w http.ResponseWriter, r *http.Request) {
	j := job{}
	j.Options.Chunks = 1
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&j); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if j.Params.Start < 0 || j.Params.Stop < j.Params.Start || j.Options.Chunks < 1 || j.Options.Chunks > 1000 {
		http.Error(w, "out of range", http.StatusUnprocessableEntity)
		return
	}
	result := map[string]any{}
	switch j.Type {
	case "primes":
		result["count"] = countPrimes(r, j.Params.Start, j.Params.Stop)
	case "sum":
		result["sum"] = sumSquares(j.Params.Start, j.Params.Stop, j.Options.Chunks).String()
	default:
		http.Error(w, "no such type", http.StatusUnprocessableEntity)
		return
	}
	answer(w, map[string]any{"result": result})
}

func main() {
	startPool()
	http.HandleFunc("/v1/jobs", submit)
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"status": "ok"}) })
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
