package sim

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

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

func (h *history) attempt(a *intent.Attempt) *attemptLog {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &attemptLog{instance: a.Instance, fn: a.Function.Name}
	h.attempts[a.Instance] = append(h.attempts[a.Instance], l)
	return l
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
		h.issuedAt[id] = w.steps
	}
}

func (h *history) answered(w *World, l *attemptLog, step daal.Step, o intent.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range l.steps {
		if s.step == step && s.outcome == nil {
			s.outcome, s.answered = &o, w.steps
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

func (h *history) result(w *World, id daal.InstanceID, fn string, input daal.Value, r intent.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := describeResult(r)
	if was, ok := h.results[id]; ok && was != got {
		h.errs = append(h.errs, fmt.Errorf("request %s has two results: %s and %s", id, was, got))
	}
	h.results[id] = got
	if _, ok := h.ends[id]; !ok {
		h.ends[id] = w.steps
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
	last := w.steps + 10
	list, err := instances(w.store)
	if err != nil {
		return err
	}
	for _, in := range list {
		if in.result == nil {
			continue // a callee that nobody waits for any more may be open: judged below by its effects
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
		end, ok := h.ends[in.id]
		if !ok {
			end = last
		}
		if err := h.operations(final, end, ops); err != nil {
			return err
		}
	}
	for i := range cellCount {
		key := cellName(i)
		// What the store holds in the end is one more read.
		v, found, err := daal.New(w.store, daal.Options{RowCapacity: w.Capacity}).Read(context.Background(), daal.Address{Service: "svc", Table: tables, Key: key})
		if err != nil {
			return err
		}
		o := intent.Outcome{OK: found, Value: v}
		all := append(ops[key], porcupine.Operation{Input: intent.Op{Kind: intent.OpRead}, Output: &o, Call: last + 1, Return: last + 2})
		if !porcupine.CheckOperations(cellModel, all) {
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

// operations adds what the final attempt did to cells. A write without an answer ends with the next operation that had to wait for it, at the latest with the instance.
func (h *history) operations(l *attemptLog, end int64, ops map[string][]porcupine.Operation) error {
	for _, s := range l.steps {
		if s.outcome == nil {
			return fmt.Errorf("instance %s ended before step %s was answered", l.instance, s.step)
		}
		switch s.op.Kind {
		case intent.OpRead, intent.OpWrite, intent.OpDelete, intent.OpCondWrite, intent.OpUpdate:
		default:
			continue
		}
		ret := s.answered
		if s.op.Kind == intent.OpWrite || s.op.Kind == intent.OpDelete {
			ret = end
			for _, t := range l.steps {
				blind := t.op.Kind == intent.OpWrite || t.op.Kind == intent.OpDelete || t.op.Kind == intent.OpUUID
				if !blind && t.outcome != nil && t.answered > s.answered && !strings.Contains(string(t.step), "/") && !strings.Contains(string(s.step), "/") {
					ret = min(ret, t.answered)
				}
			}
		}
		ops[s.op.Key] = append(ops[s.op.Key], porcupine.Operation{
			Input: s.op, Output: s.outcome, Call: h.issuedAt[daal.LogID{Instance: l.instance, Step: s.step}], Return: max(ret, s.answered) + 1,
		})
	}
	return nil
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
			n, _ := strconv.ParseInt(s, 10, 64)
			holds := s == "" || n%2 == 0
			if holds {
				s = string(op.Value.Data)
			}
			return o.OK == holds, s
		case intent.OpUpdate:
			n, _ := strconv.ParseInt(s, 10, 64)
			next := strconv.FormatInt(n+1, 10)
			return string(o.Value.Data) == next, next
		}
		return false, s
	},
	Equal: func(a, b any) bool { return a == b },
}

type ended struct {
	id     daal.InstanceID
	result *intent.Result
}

// instances reads all instances of the store and their results.
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
		out = append(out, ended{in.ID, d.Result})
	}
	return out, nil
}

type noInvoker struct{}

func (noInvoker) Callee(daal.InstanceID, daal.Step, intent.Function) daal.InstanceID { return "" }
func (noInvoker) Launch(*intent.Registration)                                        {}
func (noInvoker) Result(context.Context, daal.InstanceID) (intent.Result, error) {
	return intent.Result{}, intent.ErrNoSuchInstance
}
