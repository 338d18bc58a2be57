package sim

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
)

var (
	firstSeed = flag.Uint64("seed", 0, "first seed of TestSeeds; 0: by the clock")
	seeds     = flag.Int("seeds", 300, "how many seeds TestSeeds runs for each kind of store")
	full      = flag.Bool("full", false, "run all crash points, not a sample")
	verbose   = flag.Bool("show", false, "print the trace of each run")
)

var scopes = []backends.Scope{backends.ScopeStore, backends.ScopePartition, backends.ScopeRow}

// sample: without -full, one of so many crash points is run. Which ones, changes from run to run.
const sample = 7

var firstSample = uint64(time.Now().UnixNano()) >> 10

// simulate runs what clients ask for and returns what is wrong with it.
func simulate(t *testing.T, c Config, clients func(*World)) (w *World, err error) {
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(c)
		clients(w)
		err = w.run()
	})
	if err == nil && c.Diverges {
		err = errors.Join(w.history.errs...)
	} else if err == nil {
		err = w.check() // outside the bubble: it measures real time
	}
	if *verbose {
		t.Log("\n" + strings.Join(w.Trace, "\n"))
	}
	return w, err
}

// random makes n clients of random programs.
func random(n int) func(*World) {
	return func(w *World) {
		for i := range n {
			id := daal.InstanceID(fmt.Sprintf("r%d", i))
			in := daal.JSON(fmt.Sprint(w.Seed*1000 + uint64(i)))
			w.request(id, "random", in, i)
			if w.rng.IntN(3) == 0 {
				w.request(id, "random", in, i+1) // somebody asks twice
			}
		}
	}
}

// chaos is a configuration drawn from a seed.
func chaos(seed uint64, scope backends.Scope) Config {
	c := Config{Seed: seed, Scope: scope, Sidecars: 1 + int(seed%3), Capacity: 2, Skew: time.Hour}
	switch seed % 4 {
	case 0: // calm
	case 1:
		c.Lose, c.AppliedLost, c.Late = 30, 30, 30
	case 2:
		c.Crash, c.KillFunction, c.Stop = 5, 10, 8
	case 3:
		c.Lose, c.AppliedLost, c.Late, c.Crash, c.KillFunction, c.Stop = 20, 20, 20, 4, 6, 6
	}
	c.Prune, c.Fence = 15, 5
	return c
}

func TestCalm(t *testing.T) {
	for _, scope := range scopes {
		t.Run(scope.String(), func(t *testing.T) {
			for seed := uint64(1); seed <= 20; seed++ {
				if _, err := simulate(t, Config{Seed: seed, Scope: scope, Sidecars: 1, Capacity: 2}, random(3)); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// TestSeedRepeats: a seed names a run, down to the order of all calls.
func TestSeedRepeats(t *testing.T) {
	for _, scope := range scopes {
		t.Run(scope.String(), func(t *testing.T) {
			for seed := uint64(1); seed <= 50; seed++ {
				first, err := simulate(t, chaos(seed, scope), random(3))
				if err != nil {
					t.Fatal(err)
				}
				second, err := simulate(t, chaos(seed, scope), random(3))
				if err != nil {
					t.Fatal(err)
				}
				if first.hash != second.hash {
					n := 0
					for n < min(len(first.Trace), len(second.Trace)) && first.Trace[n] == second.Trace[n] {
						n++
					}
					t.Fatalf("seed %d: two runs differ from line %d on:\n%s\nand\n%s", seed, n,
						strings.Join(tail(first.Trace, n), "\n"), strings.Join(tail(second.Trace, n), "\n"))
				}
			}
		})
	}
}

// tail returns a few lines around line n.
func tail(lines []string, n int) []string {
	return lines[max(0, n-5):min(n+3, len(lines))]
}

// TestSeeds runs new seeds: -seed N -seeds 1 repeats one.
func TestSeeds(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano()) >> 10
	}
	for _, scope := range scopes {
		t.Run(scope.String(), func(t *testing.T) {
			calls := 0
			for seed := first; seed < first+uint64(*seeds); seed++ {
				w, err := simulate(t, chaos(seed, scope), random(3))
				if err != nil {
					t.Fatalf("seed %d (repeat: go test ./test/sim -run 'TestSeeds/%s' -seed %d -seeds 1 -show -v): %v", seed, scope, seed, err)
				}
				calls += w.calls
			}
			t.Logf("%d seeds from %d, %d calls", *seeds, first, calls)
		})
	}
}
