package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beldi/beldi/backends"
)

// play runs one script, asked for by one client, under a plan.
func play(t *testing.T, scope backends.Scope, script string, plan func(n int, c *Call) Verdict) (*World, error) {
	return simulate(t, Config{Seed: 1, Scope: scope, Sidecars: 2, Capacity: 2, Plan: plan}, func(w *World) {
		w.request("r0", "script", value("%q", script), 0)
	})
}

// TestCrashPoints runs each script with each fault at each of its calls (store calls and functions' messages, those of the sidecars' background work included). Result and
// cells must be those of the run without faults, and every effect must have been applied once. -full runs all of them; otherwise a sample.
func TestCrashPoints(t *testing.T) {
	runs, part := 0, *sample
	if part == 0 {
		part = 1 + int(time.Now().UnixNano()>>10%samples)
	}
	for _, scope := range scopes {
		for _, name := range slices.Sorted(maps.Keys(scripts)) {
			t.Run(fmt.Sprintf("%s/%s", scope, name), func(t *testing.T) {
				var calls []*Call
				calm, err := play(t, scope, name, func(_ int, c *Call) Verdict {
					calls = append(calls, c)
					return Go
				})
				if err != nil {
					t.Fatal(err)
				}
				calls = calls[:calm.callsToEnd]
				for n, c := range calls {
					if strings.Contains(c.Label, "query open") {
						continue // the collectors' looks at empty shards: all alike
					}
					for _, way := range c.Kind.ways() {
						if !*full && (n+int(way))%samples != part-1 {
							continue
						}
						runs++
						if err := crashPoint(t, scope, name, n+1, c.Label, way, calm); err != nil {
							t.Fatalf("%s at call %d of %d (%s): %v", way, n+1, len(calls), c.Label, err)
						}
					}
				}
			})
		}
	}
	t.Logf("%d runs, sample %d (-full: all)", runs, part)
}

// samples: so many runs of the test without -full cover all crash points.
const samples = 7

// crashPoint runs a script with a fault at call n.
func crashPoint(t *testing.T, scope backends.Scope, name string, n int, label string, way Verdict, calm *World) error {
	hit := ""
	w, err := play(t, scope, name, func(i int, c *Call) Verdict {
		if i != n {
			return Go
		}
		if hit = c.Label; hit != label {
			return Go
		}
		return way
	})
	switch {
	case hit != label: // the same run up to here, so far as the seed decides
		err = fmt.Errorf("call %d is %q, without faults %q", n, hit, label)
	case err != nil:
	case w.history.results["r0"] != calm.history.results["r0"]:
		err = fmt.Errorf("result %s, without faults %s", w.history.results["r0"], calm.history.results["r0"])
	case !maps.Equal(w.finalCells(), calm.finalCells()):
		err = fmt.Errorf("cells %v, without faults %v", w.finalCells(), calm.finalCells())
	}
	return err
}

// TestPauseLastsUntilAnotherFinished: PauseHere means what its name says. The sidecar that runs the instance stops before its last append, the other takes over and
// finishes, and then the stopped one goes on and is refused.
func TestPauseLastsUntilAnotherFinished(t *testing.T) {
	for _, scope := range scopes {
		t.Run(scope.String(), func(t *testing.T) {
			paused := 0
			w, err := play(t, scope, "ten-writes", func(n int, c *Call) Verdict {
				if paused == 0 && c.Kind == Message && c.Label == "0 fn r0/1 ends" {
					paused = n
					return PauseHere
				}
				return Go
			})
			if err != nil {
				t.Fatal(err)
			}
			if w.woken != 1 {
				t.Fatalf("%d sidecars were woken at the end, want 1", w.woken)
			}
			if attempts := len(w.history.attempts["r0"]); attempts != 2 {
				t.Fatalf("%d attempts, want 2", attempts)
			}
			var order []int
			for _, line := range []string{"0 fn r0/1 ends: pause", "1 fn r0/2 ends: go", "all requests are answered", "sidecar 0 goes on", "0 fn r0/1 ends: go"} {
				order = append(order, w.traced(line))
			}
			if !slices.IsSorted(order) || order[0] < 0 {
				t.Fatalf("order of events in the trace: %v", order)
			}
		})
	}
}
