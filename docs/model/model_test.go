package main

import "testing"

// The fused protocol, within seconds: clean as designed, and every dropped condition caught. `go run . -run '^(F|L)/|/F/'`
// runs all of it, `go run .` all models.
func TestFused(t *testing.T) {
	slow := map[string]bool{ // more than 500,000 states each
		"L/ticks": true, "L/ticks-bare": true, "F/inc-cut": true, "F/wrw": true, "F/wrw-cut": true, "F/wrw-takes": true, "F/two": true, "F/branch-cut": true, "F/branch-early": true,
		"F/mix": true, "F/cond": true, "F/cond-opt-read": true, "F/storebuffer": true, "F/cond-opt": true, "var/F/lean-mix": true, "var/F/lean-wrw-cut": true,
		"var/F/lean-cond-opt": true, "var/F/lean-call": true, "var/F/lost-is-superseded": true, "var/F/position-only-once": true,
	}
	runs = nil
	registerFused()
	for _, r := range runs {
		if slow[r.name] {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			x := r.do(1_000_000)
			got := "ok"
			if x.Violation != "" {
				got = "bad"
			}
			if got != r.want {
				t.Errorf("%s: want %s, got %s: %s", r.note, r.want, got, x.Violation)
				for i, l := range x.Trace {
					t.Logf("%2d %s", i+1, l)
				}
			}
			if x.Cut {
				t.Errorf("the state limit was reached after %d states", x.States)
			}
			if r.want == "ok" && x.Goals == 0 {
				t.Error("no state in which all work is done: the run is empty")
			}
		})
	}
}
