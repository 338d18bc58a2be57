package sim

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// flip is a function that is not deterministic: later attempts take another path.
type flip struct {
	first, second []intent.Op
	// elsewhere: the paths differ in which cell an effect is on. Outside a store of one scope an effect that no record covers yet is known only to its own cell, so
	// the second path cannot know of it (protocol.md R4 compares with what was recorded).
	elsewhere bool
}

func write(key, v string) intent.Op {
	return intent.Op{Kind: intent.OpWrite, Key: key, Value: daal.JSON(v)}
}
func read(key string) intent.Op { return intent.Op{Kind: intent.OpRead, Key: key} }
func add(key string) intent.Op {
	return intent.Op{Kind: intent.OpUpdate, Key: key, Expr: "found ? value + 1 : 1"}
}
func onlyNew(key, v string) intent.Op {
	return intent.Op{Kind: intent.OpCondWrite, Key: key, Expr: "!found", Value: daal.JSON(v)}
}
func invoke(name string) intent.Op {
	return intent.Op{Kind: intent.OpInvoke, Target: intent.Function{Service: "svc", Name: "script"}, Value: value("%q", name)}
}

var flips = map[string]flip{
	"operation":       {first: []intent.Op{write("k0", "1")}, second: []intent.Op{{Kind: intent.OpDelete, Key: "k0"}}},
	"kind of update":  {first: []intent.Op{add("k0")}, second: []intent.Op{onlyNew("k0", "7")}},
	"argument":        {first: []intent.Op{write("k0", "1")}, second: []intent.Op{write("k0", "2")}},
	"expression":      {first: []intent.Op{onlyNew("k0", "1")}, second: []intent.Op{{Kind: intent.OpCondWrite, Key: "k0", Expr: "!found || value % 2 == 0", Value: daal.JSON("1")}}},
	"key":             {first: []intent.Op{add("k0")}, second: []intent.Op{add("k1")}, elsewhere: true},
	"key of a read":   {first: []intent.Op{read("k2"), add("k0")}, second: []intent.Op{read("k4"), add("k0")}},
	"order":           {first: []intent.Op{write("k0", "1"), add("k1")}, second: []intent.Op{add("k1"), write("k0", "1")}, elsewhere: true},
	"read or write":   {first: []intent.Op{read("k0"), add("k0")}, second: []intent.Op{write("k0", "5"), add("k0")}},
	"one step more":   {first: []intent.Op{read("k4"), add("k0")}, second: []intent.Op{add("k0")}},
	"callee's input":  {first: []intent.Op{invoke("add-k0")}, second: []intent.Op{invoke("add-k1")}},
	"invoke or write": {first: []intent.Op{invoke("add-k0")}, second: []intent.Op{write("k1", "9")}, elsewhere: true},
}

// path is what an attempt does: some steps before and after what differs.
func (f flip) path(run int) []intent.Op {
	ops := []intent.Op{read("k2"), add("k2")}
	if run == 1 {
		ops = append(ops, f.first...)
	} else {
		ops = append(ops, f.second...)
	}
	return append(ops, read("k3"), add("k3"))
}

func init() {
	functions["flip"] = func(c *Ctx) (daal.Value, *intent.Failure) {
		name := string(c.a.Input.Data)
		s := &script{c: c}
		for _, op := range flips[name[1:len(name)-1]].path(c.run) {
			s.do(op)
			if op.Kind == intent.OpInvoke {
				s.saw[len(s.saw)-1] = "{true  }" // what the callee saw does not matter here
			}
		}
		return value("%q", strings.Join(s.saw, " ")), nil
	}
}

// moments are what the cells hold while a path is under way, from the start to the end, and result is what it returns.
func moments(ops []intent.Op) (cells []map[string]string, result string) {
	now := map[string]string{}
	for i := range cellCount {
		now[cellName(i)] = ""
	}
	cells = append(cells, maps.Clone(now))
	var saw []string
	for _, op := range ops {
		o := intent.Outcome{OK: true}
		before := now[op.Key]
		switch op.Kind {
		case intent.OpRead:
			o = intent.Outcome{OK: before != "", Value: daal.JSON(before)}
		case intent.OpInvoke: // of a script that adds one to a cell
			op = add(strings.TrimPrefix(strings.Trim(string(op.Value.Data), `"`), "add-"))
			next, _ := expressions[op.Expr](now[op.Key], "")
			now[op.Key] = next
		case intent.OpUpdate:
			now[op.Key], _ = expressions[op.Expr](before, "")
			o.Value = daal.JSON(now[op.Key])
		case intent.OpCondWrite:
			if o.OK, _ = conditions[op.Expr](before); o.OK {
				now[op.Key] = string(op.Value.Data)
			}
		default:
			now[op.Key] = string(op.Value.Data)
		}
		saw = append(saw, describeOutcome(o))
		cells = append(cells, maps.Clone(now))
	}
	return cells, string(value("%q", strings.Join(saw, " ")).Data)
}

// named tells whether an error names a step at which the paths differ, and what it is in either.
func (f flip) named(message string) bool {
	first, second := f.path(1), f.path(2)
	for i := range min(len(first), len(second)) {
		// What a cell's log knows of an effect is its digest.
		was := strings.Contains(message, "was `"+first[i].Kind.String()) || strings.Contains(message, "was `another operation`")
		if strings.Contains(message, fmt.Sprintf("step %d was", i+1)) && was && strings.Contains(message, "is `"+second[i].Kind.String()) {
			return true
		}
	}
	return false
}

// TestNonDeterminism lets functions change their minds after a death at each call. Either the instance is parked, and the error names the step and both operations, and the first
// path's effects stand and no others; or one path was taken as a whole.
func TestNonDeterminism(t *testing.T) {
	for _, scope := range scopes {
		for name, f := range flips {
			t.Run(fmt.Sprintf("%s/%s", scope, name), func(t *testing.T) {
				var calls []*Call
				calm, err := f.play(t, scope, name, func(_ int, c *Call) Verdict {
					calls = append(calls, c)
					return Go
				})
				if err != nil {
					t.Fatal(err)
				}
				parked := 0
				for n, c := range calls[:calm.callsToEnd] {
					if strings.Contains(c.Label, "query open") || strings.Contains(c.Label, "function") {
						continue
					}
					for _, way := range []Verdict{CrashBefore, CrashAfter, KillFunction, PauseHere} {
						if way == CrashAfter && c.Kind != Write {
							continue
						}
						w, err := f.play(t, scope, name, func(i int, _ *Call) Verdict {
							if i == n+1 {
								return way
							}
							return Go
						})
						if err != nil {
							t.Fatalf("%s at call %d (%s): %v", way, n+1, c.Label, err)
						}
						if parkedResult(w.history.results["r0"]) {
							parked++
						}
					}
				}
				if parked == 0 {
					t.Error("no attempt was found to have taken another path")
				}
			})
		}
	}
}

// play runs a flip and judges what came of it.
func (f flip) play(t *testing.T, scope backends.Scope, name string, plan func(int, *Call) Verdict) (*World, error) {
	c := Config{Seed: 1, Scope: scope, Sidecars: 2, Capacity: 2, Diverges: true, Plan: plan}
	w, err := simulate(t, c, func(w *World) { w.request("r0", "flip", value("%q", name), 0) })
	if err != nil {
		return w, err
	}
	result, cells := w.history.results["r0"], w.finalCells()
	if unseen := f.elsewhere && scope != backends.ScopeStore; unseen {
		if parkedResult(result) && !f.named(result) {
			err = fmt.Errorf("the error does not name a step and both operations: %s", result)
		}
		return w, err
	}
	if !parkedResult(result) {
		for run := 1; run <= 2; run++ {
			all, want := moments(f.path(run))
			if result == want && maps.Equal(cells, all[len(all)-1]) {
				return w, nil
			}
		}
		return w, fmt.Errorf("result %s and cells %v are of neither path", result, cells)
	}
	if !f.named(result) {
		return w, fmt.Errorf("the error does not name a step and both operations: %s", result)
	}
	first, _ := moments(f.path(1))
	for _, m := range first {
		if maps.Equal(cells, m) {
			return w, nil
		}
	}
	return w, fmt.Errorf("cells %v are of no moment of the first path; result %s", cells, result)
}

func parkedResult(s string) bool {
	return strings.HasPrefix(s, "failed: ") && strings.Contains(s, "in an earlier attempt")
}
