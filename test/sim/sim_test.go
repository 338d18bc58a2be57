package sim

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

var (
	firstSeed = flag.Uint64("seed", 0, "first seed of TestSeeds; 0: by the clock")
	seeds     = flag.Int("seeds", 700, "how many seeds TestSeeds runs for each kind of store")
	full      = flag.Bool("full", false, "run all crash points, not a sample")
	sample    = flag.Int("sample", 0, "without -full: which of the seven samples of crash points to run, from 1; 0: by the clock")
	verbose   = flag.Bool("show", false, "print the trace of each run")
)

var scopes = []backends.Scope{backends.ScopeStore, backends.ScopePartition, backends.ScopeRow}

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

// TestKeptSeeds runs the seeds that once found something, or find a planted bug.
func TestKeptSeeds(t *testing.T) {
	file, err := os.ReadFile("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var name string
		var seed uint64
		if _, err := fmt.Sscan(line, &name, &seed); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		i := slices.IndexFunc(scopes, func(s backends.Scope) bool { return s.String() == name })
		if i < 0 {
			t.Fatalf("line %q: no such scope", line)
		}
		if _, err := simulate(t, chaos(seed, scopes[i]), random(3)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestSeeds runs new seeds: -seed N -seeds 1 repeats one.
func TestSeeds(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano()) >> 10
	}
	total := map[covered]int{}
	for _, scope := range scopes {
		t.Run(scope.String(), func(t *testing.T) {
			calls, undecided := 0, 0
			coverage := map[covered]int{}
			for seed := first; seed < first+uint64(*seeds); seed++ {
				w, err := simulate(t, chaos(seed, scope), random(3))
				if err != nil {
					t.Fatalf("seed %d (repeat: go test ./test/sim -run 'TestSeeds/%s' -seed %d -seeds 1 -show -v): %v", seed, scope, seed, err)
				}
				calls += w.calls
				undecided += w.undecided
				for c, n := range w.coverage {
					coverage[c] += n
				}
			}
			t.Logf("%d seeds from %d, %d calls, %d cells undecided; faults that met each operation:\n%s", *seeds, first, calls, undecided, table(coverage))
			for c, n := range coverage {
				total[c] += n
			}
		})
	}
	if *seeds < enough || t.Failed() {
		return
	}
	for _, fault := range faults {
		drawn := 0 // time, chance and ids are one kind here, and met often enough together
		for _, op := range operations {
			n := total[covered{op, fault}]
			if op == intent.OpNow || op == intent.OpRandom || op == intent.OpUUID {
				drawn += n
				n = drawn
			}
			if n == 0 && op != intent.OpNow && op != intent.OpRandom {
				t.Errorf("no fault of kind %s met an operation of kind %s", fault, op)
			}
		}
	}
}

// enough seeds that each fault meets each operation dozens of times.
const enough = 300

var (
	operations = []intent.OpKind{
		intent.OpRead, intent.OpWrite, intent.OpDelete, intent.OpCondWrite, intent.OpUpdate, intent.OpList, intent.OpInvoke, intent.OpStart, intent.OpAwait,
		intent.OpBeginRecord, intent.OpEndRecord, intent.OpNow, intent.OpRandom, intent.OpUUID, intent.OpComplete,
	}
	faults = []string{Lose.String(), AppliedLost.String(), Late.String(), "crash", KillFunction.String(), "stop", "prune"}
)

// table writes how often each fault met each operation.
func table(coverage map[covered]int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s", "")
	for _, f := range faults {
		fmt.Fprintf(&b, "%14s", f)
	}
	for _, op := range operations {
		fmt.Fprintf(&b, "\n%-10s", op)
		for _, f := range faults {
			fmt.Fprintf(&b, "%14d", coverage[covered{op, f}])
		}
	}
	return b.String()
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
