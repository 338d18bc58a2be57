package sim

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// history is all that functions and clients saw.
type history struct {
	mu       sync.Mutex
	attempts map[daal.InstanceID][]*attemptLog
	results  map[daal.InstanceID]string
	ends     map[daal.InstanceID]int64
	runs     map[string]int
	// issuedAt is when a step was first asked for, by whichever attempt.
	issuedAt map[daal.LogID]int64
	errs     []error
}

// attemptLog is what one attempt did.
type attemptLog struct {
	instance daal.InstanceID
	fn       string
	steps    []*stepLog
	ended    bool
	result   string
}

type stepLog struct {
	step     daal.Step
	op       intent.Op
	outcome  *intent.Outcome
	answered int64
}

func newHistory() *history {
	return &history{
		attempts: map[daal.InstanceID][]*attemptLog{}, results: map[daal.InstanceID]string{}, ends: map[daal.InstanceID]int64{},
		runs: map[string]int{}, issuedAt: map[daal.LogID]int64{},
	}
}

// attempt notes that one begins, and tells how many there have been.
func (h *history) attempt(a *intent.Attempt) (*attemptLog, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &attemptLog{instance: a.Instance, fn: a.Function.Name}
	h.attempts[a.Instance] = append(h.attempts[a.Instance], l)
	return l, len(h.attempts[a.Instance])
}

func (h *history) issued(w *World, l *attemptLog, step daal.Step, op intent.Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if op.Kind == intent.OpEndRecord {
		return
	}
	l.steps = append(l.steps, &stepLog{step: step, op: op})
	id := daal.LogID{Instance: l.instance, Step: step}
	if _, ok := h.issuedAt[id]; !ok {
		h.issuedAt[id] = w.now()
	}
}

func (h *history) answered(w *World, l *attemptLog, step daal.Step, o intent.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range l.steps {
		if s.step == step && s.outcome == nil {
			s.outcome, s.answered = &o, w.now()
		}
	}
}

func (h *history) ran(id daal.InstanceID, step daal.Step) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := daal.LogID{Instance: id, Step: step}.String()
	h.runs[k]++
	return h.runs[k]
}

func (h *history) completes(l *attemptLog, v daal.Value, f *intent.Failure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.ended, l.result = true, describeResult(intent.Result{Value: v, Failure: f})
}

func describeResult(r intent.Result) string {
	if err := r.Err(); err != nil {
		return "failed: " + err.Error()
	}
	return string(r.Value.Data)
}

func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errs = append(h.errs, err)
}

func (h *history) diverged(err error) {
	h.fail(fmt.Errorf("a deterministic function was called non-deterministic: %w", err))
}

func (h *history) result(w *World, id daal.InstanceID, r intent.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := describeResult(r)
	if was, ok := h.results[id]; ok && was != got {
		h.errs = append(h.errs, fmt.Errorf("request %s has two results: %s and %s", id, was, got))
	}
	h.results[id] = got
	if _, ok := h.ends[id]; !ok {
		h.ends[id] = w.now()
	}
}

// check judges a finished run.
func (w *World) check() error {
	h := w.history
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := errors.Join(h.errs...); err != nil {
		return err
	}
	// The journals say which instances ended how, callees included.
	ops := map[string][]porcupine.Operation{}
	last := w.now() + 10
	list, err := instances(w.store)
	if err != nil {
		return err
	}
	for _, in := range list {
		if in.result == nil {
			return fmt.Errorf("instance %s has not ended", in.id)
		}
		got := describeResult(*in.result)
		if was, ok := h.results[in.id]; ok && was != got {
			return fmt.Errorf("instance %s: the client was told %s, the journal says %s", in.id, was, got)
		}
		var final *attemptLog
		for _, l := range h.attempts[in.id] {
			if l.ended && l.result == got {
				final = l
			}
		}
		if final == nil {
			return fmt.Errorf("instance %s has a result that no attempt gave: %s", in.id, got)
		}
		if err := in.covers(final); err != nil {
			return err
		}
		end, ok := h.ends[in.id]
		if !ok {
			end = last
		}
		if err := h.operations(final, end, ops); err != nil {
			return err
		}
	}
	for key, value := range w.finalCells() {
		o := intent.Outcome{OK: value != "", Value: daal.JSON(value)}
		// What the store holds in the end is one more read.
		all := append(ops[key], porcupine.Operation{Input: intent.Op{Kind: intent.OpRead}, Output: &o, Call: last + 1, Return: last + 2})
		switch porcupine.CheckOperationsTimeout(cellModel, all, 5*time.Second) {
		case porcupine.Unknown:
			w.undecided++
		case porcupine.Illegal:
			var b strings.Builder
			for _, op := range all {
				in := op.Input.(intent.Op)
				fmt.Fprintf(&b, "\n  [%d %d] %s %s %s -> %s", op.Call, op.Return, in.Kind, in.Value.Data, in.Expr, describeOutcome(*op.Output.(*intent.Outcome)))
			}
			return fmt.Errorf("cell %s: no order of its operations explains what was seen:%s", key, b.String())
		}
	}
	return nil
}

// finalCells reads all cells, "" for none, without a sidecar's caches.
func (w *World) finalCells() map[string]string {
	values := map[string]string{}
	cells := daal.New(w.store, daal.Options{RowCapacity: w.Capacity})
	for _, a := range w.cells {
		v, found, err := cells.Read(context.Background(), a)
		if err != nil || found && len(v.Data) == 0 {
			panic(fmt.Sprintf("sim: read %s: %q, %v", a, v.Data, err))
		}
		values[a.Key] = string(v.Data)
	}
	return values
}

// effect tells what must stand in the journal as applied, once.
func effect(k intent.OpKind) bool {
	switch k {
	case intent.OpWrite, intent.OpDelete, intent.OpCondWrite, intent.OpUpdate, intent.OpInvoke, intent.OpStart, intent.OpBeginRecord:
		return true
	}
	return false
}

// covers compares the journal with what the attempt did that gave the result: each effect was recorded as applied, once. (An invoke is: registered, and
// later answered.)
func (in *ended) covers(l *attemptLog) error {
	applied := map[daal.Step]int{}
	for _, rec := range in.journal {
		for _, e := range rec.Entries {
			if e.Effect {
				applied[e.Step]++
			}
		}
	}
	for _, s := range l.steps {
		n := applied[s.step]
		if s.op.Kind == intent.OpInvoke && n == 2 {
			n = 1
		}
		if effect(s.op.Kind) && n != 1 || !effect(s.op.Kind) && n != 0 {
			return fmt.Errorf("instance %s: its journal says %d times that step %s (%s) was applied", in.id, n, s.step, s.op.Kind)
		}
	}
	return nil
}

// operations adds what the final attempt did to cells. A write without an answer ends with the next operation that had to wait for it, at the latest with the instance.
func (h *history) operations(l *attemptLog, end int64, ops map[string][]porcupine.Operation) error {
	for i, s := range l.steps {
		if s.outcome == nil {
			return fmt.Errorf("instance %s ended before step %s was answered", l.instance, s.step)
		}
		call := h.issuedAt[daal.LogID{Instance: l.instance, Step: s.step}]
		switch s.op.Kind {
		case intent.OpList:
			for key, o := range listed(&s.op, s.outcome) {
				ops[key] = append(ops[key], porcupine.Operation{Input: intent.Op{Kind: intent.OpRead}, Output: o, Call: call, Return: s.answered + 1})
			}
			continue
		case intent.OpRead, intent.OpWrite, intent.OpDelete, intent.OpCondWrite, intent.OpUpdate:
		default:
			continue
		}
		ret := s.answered
		if s.op.Kind == intent.OpWrite || s.op.Kind == intent.OpDelete {
			ret = end
			for _, t := range l.steps[i+1:] {
				// A replayed answer says that the effects before it in the program were applied; a fresh one, that all effects asked for before were.
				if waitsForEffects(t.op.Kind) && (!t.outcome.Replayed || branch(t.step) == branch(s.step)) {
					ret = min(ret, max(t.answered, s.answered))
				}
			}
		}
		ops[s.op.Key] = append(ops[s.op.Key], porcupine.Operation{Input: s.op, Output: s.outcome, Call: call, Return: max(ret, s.answered) + 1})
	}
	return nil
}

// branch is what a step's name has before its last number.
func branch(s daal.Step) string { return string(s[:strings.LastIndexByte(string(s), '.')+1]) }

// waitsForEffects tells the operations that are answered after all effects before them (R13).
func waitsForEffects(k intent.OpKind) bool {
	switch k {
	case intent.OpWrite, intent.OpDelete, intent.OpNow, intent.OpRandom, intent.OpUUID:
		return false
	}
	return true
}

// listed makes reads of a listing: of each key that it shows, or passes over.
func listed(op *intent.Op, o *intent.Outcome) map[string]*intent.Outcome {
	reads := map[string]*intent.Outcome{}
	for i := range cellCount {
		key := cellName(i)
		if strings.HasPrefix(key, op.Key) && key > op.After && (o.Next == "" || key <= o.Next) {
			reads[key] = &intent.Outcome{}
		}
	}
	for _, e := range o.Entries {
		reads[e.Key] = &intent.Outcome{OK: true, Value: e.Value}
	}
	return reads
}

// expressions is what those of the simulated functions do, said once more in Go.
var expressions = map[string]func(value, arg string) (next string, fails bool){
	"found ? value + 1 : 1": func(value, _ string) (string, bool) {
		n, _ := strconv.ParseInt(value, 10, 64)
		return strconv.FormatInt(n+1, 10), false
	},
	"found ? value + input : input": func(value, arg string) (string, bool) {
		return strings.TrimSuffix(value, `"`) + strings.TrimPrefix(arg, map[bool]string{true: `"`}[value != ""]), false
	},
	"[1][7]": func(value, _ string) (string, bool) { return value, true },
}

var conditions = map[string]func(value string) (holds, fails bool){
	"!found || value % 2 == 0": func(value string) (bool, bool) {
		n, _ := strconv.ParseInt(value, 10, 64)
		return value == "" || n%2 == 0, false
	},
	"!found":      func(value string) (bool, bool) { return value == "", false },
	"[1][7] == 1": func(string) (bool, bool) { return false, true },
}

// cellModel is what a cell should be: a register with conditional writes and updates.
var cellModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, op, o := state.(string), input.(intent.Op), output.(*intent.Outcome)
		switch op.Kind {
		case intent.OpRead:
			return o.OK == (s != "") && (!o.OK || string(o.Value.Data) == s), s
		case intent.OpWrite:
			return true, string(op.Value.Data)
		case intent.OpDelete:
			return true, ""
		case intent.OpCondWrite:
			holds, fails := conditions[op.Expr](s)
			if holds {
				s = string(op.Value.Data)
			}
			return o.OK == holds && (o.Err != nil) == fails, s
		case intent.OpUpdate:
			next, fails := expressions[op.Expr](s, string(op.Value.Data))
			returned := !fails && len(next) <= daal.MaxReturned
			return (o.Err != nil) == fails && o.OK == returned && (!returned || string(o.Value.Data) == next), next
		}
		return false, s
	},
	Equal: func(a, b any) bool { return a == b },
}

type ended struct {
	id      daal.InstanceID
	result  *intent.Result
	journal []intent.RecordInfo
}

// instances reads all instances of the store, their results and journals.
func instances(s backends.Store) ([]ended, error) {
	rt, err := intent.New(s, intent.Options{Invoker: noInvoker{}})
	if err != nil {
		return nil, err
	}
	list, _, err := rt.Instances(context.Background(), intent.InstanceFilter{Limit: 1 << 20})
	if err != nil {
		return nil, err
	}
	var out []ended
	for _, in := range list {
		d, err := rt.Instance(context.Background(), in.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, ended{in.ID, d.Result, d.Journal})
	}
	return out, nil
}

type noInvoker struct{}

func (noInvoker) Callee(daal.InstanceID, uint64, daal.Step) daal.InstanceID { return "" }
func (noInvoker) Launch(*intent.Registration)                               {}
func (noInvoker) Result(context.Context, daal.InstanceID) (intent.Result, error) {
	return intent.Result{}, intent.ErrNoSuchInstance
}
