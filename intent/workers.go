package intent

import (
	"context"
	"fmt"
	"slices"

	"github.com/beldi/beldi/backends"
)

// functionQueue holds what is known of a function in this sidecar: who serves it, and the instances that wait for a worker.
type functionQueue struct {
	attachments []*Attachment
	next        int // round robin
	waiting     []*instance
}

// Attachment is a worker that serves functions of a service.
type Attachment struct {
	rt          *Runtime
	worker      Worker
	functions   []Function
	concurrency int // 0: no limit
	// Guarded by rt.mu.
	running map[*Attempt]struct{}
	load    int
	closed  bool
}

// Attach offers a worker. The functions' names are made durable, then attempts may come.
func (r *Runtime) Attach(service string, functions []string, concurrency int, w Worker) (*Attachment, error) {
	at := &Attachment{rt: r, worker: w, concurrency: concurrency, running: map[*Attempt]struct{}{}}
	for _, name := range functions {
		f := Function{service, name}
		at.functions = append(at.functions, f)
		if err := r.announce(f); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	for _, f := range at.functions {
		q := r.queue(f)
		q.attachments = append(q.attachments, at)
	}
	r.dispatch(at)
	return at, nil
}

// announce remembers that a function exists, so that a restarted sidecar waits for its worker rather than call it unknown.
func (r *Runtime) announce(f Function) error {
	r.mu.Lock()
	_, known := r.functions[f]
	r.mu.Unlock()
	if known {
		return nil
	}
	u := backends.Update{Key: functionKey(f), Do: []backends.Change{{Field: fState, Set: backends.Int(1)}}}
	if err := r.applyBlind(r.ctx, quiet{}, u); err != nil {
		return fmt.Errorf("intent: announce %s: %w", f, err)
	}
	return nil
}

// quiet pauses without telling anyone.
type quiet struct{}

func (quiet) blocked(ctx context.Context, wait *backoff, err error) error { return wait.sleep(ctx) }
func (quiet) unblocked()                                                  {}

// queue returns a function's queue. Called with r.mu held.
func (r *Runtime) queue(f Function) *functionQueue {
	q := r.functions[f]
	if q == nil {
		q = &functionQueue{}
		r.functions[f] = q
	}
	return q
}

// known returns whether a function has ever announced itself, here or to another sidecar of the store.
func (r *Runtime) known(ctx context.Context, f Function) (bool, error) {
	r.mu.Lock()
	_, ok := r.functions[f]
	r.mu.Unlock()
	if ok {
		return true, nil
	}
	row, err := r.store.Get(ctx, functionKey(f))
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrStore, err)
	}
	if row.Exists() {
		r.mu.Lock()
		r.queue(f)
		r.mu.Unlock()
	}
	return row.Exists(), nil
}

// pick returns a worker with room, in turn. Called with r.mu held.
func (q *functionQueue) pick() *Attachment {
	for range q.attachments {
		at := q.attachments[q.next%len(q.attachments)]
		q.next++
		if !at.closed && (at.concurrency == 0 || at.load < at.concurrency) {
			return at
		}
	}
	return nil
}

// schedule runs the next attempt of an instance as soon as a worker has room.
func (r *Runtime) schedule(i *instance) {
	r.mu.Lock()
	q := r.queue(i.Function)
	at := q.pick()
	if at == nil || r.draining && i.Caller == "" { // callees of what still runs are part of it
		q.waiting = append(q.waiting, i)
		r.mu.Unlock()
		i.say("waiting for a worker")
		return
	}
	at.load++
	r.mu.Unlock()
	r.start(i, at)
}

// dispatch gives a worker what waits for it. Called with r.mu held; returns without it.
func (r *Runtime) dispatch(at *Attachment) {
	var ready []*instance
	for _, f := range at.functions {
		q := r.functions[f]
		for len(q.waiting) > 0 && !r.draining && !at.closed && (at.concurrency == 0 || at.load < at.concurrency) {
			ready = append(ready, q.waiting[0])
			q.waiting = q.waiting[1:]
			at.load++
		}
	}
	r.mu.Unlock()
	for _, i := range ready {
		r.start(i, at)
	}
}

// release gives back a worker's room.
func (r *Runtime) release(at *Attachment, a *Attempt) {
	r.mu.Lock()
	at.load--
	delete(at.running, a)
	r.dispatch(at)
}

// Drain: no new attempts for this worker.
func (at *Attachment) Drain() {
	at.rt.mu.Lock()
	defer at.rt.mu.Unlock()
	at.detach()
}

func (at *Attachment) detach() {
	at.closed = true
	for _, f := range at.functions {
		q := at.rt.functions[f]
		q.attachments = slices.DeleteFunc(q.attachments, func(x *Attachment) bool { return x == at })
	}
}

// Detach: the worker is gone. Its attempts are lost, and run again elsewhere at once; those that have sent their end are finished.
func (at *Attachment) Detach() {
	at.rt.mu.Lock()
	at.detach()
	lost := make([]*Attempt, 0, len(at.running))
	for a := range at.running { // order does not matter: each is stopped by itself
		lost = append(lost, a)
	}
	at.rt.mu.Unlock()
	slices.SortFunc(lost, func(x, y *Attempt) int {
		if x.Instance < y.Instance {
			return -1
		}
		return 1
	})
	for _, a := range lost {
		a.tell(func(m *machine) { m.lost(ErrWorkerLost) })
	}
}

// Functions lists all functions that have ever announced themselves.
func (r *Runtime) Functions(ctx context.Context) ([]FunctionStatus, error) {
	var list []FunctionStatus
	q := backends.Range{Kind: backends.KindFunction, Limit: 1000}
	for {
		page, err := r.store.Scan(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStore, err)
		}
		for _, e := range page {
			service, err := backends.ParseTuple(e.Key.Part)
			if err != nil || len(service) != 1 {
				return nil, fmt.Errorf("intent: function %q is no name", e.Key.Part)
			}
			s := FunctionStatus{Function: Function{service[0], e.Key.Sort}}
			r.mu.Lock()
			if q := r.functions[s.Function]; q != nil {
				s.Workers = len(q.attachments)
			}
			r.mu.Unlock()
			list = append(list, s)
		}
		if len(page) < q.Limit {
			return list, nil
		}
		q.After = page[len(page)-1].Key
	}
}
