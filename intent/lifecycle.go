package intent

import (
	"context"
	"errors"
	"fmt"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
)

// start begins an attempt on a worker that has room for it.
func (r *Runtime) start(i *instance, at *Attachment) {
	i.mu.Lock()
	known := i.fresh || i.at != tip{}
	i.mu.Unlock()
	if known {
		r.run(i, at, nil)
		return
	}
	r.spawn(func() {
		j, err := r.take(i)
		switch {
		case err == nil:
			r.run(i, at, j)
			return
		case errors.Is(err, ErrNoSuchInstance) && i.request:
			// The insert was lost, or withdrawn: the request is still here.
			i.mu.Lock()
			i.fresh, i.at = true, tip{}
			i.mu.Unlock()
			r.run(i, at, nil)
			return
		}
		r.release(at, nil)
		r.notRun(i, err)
	})
}

// run hands an attempt to its worker. j is the journal that ends with this attempt's own record; nil if the instance is fresh, or just inserted.
func (r *Runtime) run(i *instance, at *Attachment, j *journal) {
	fused := r.cells.Layout() == daal.LayoutBare
	a := &Attempt{Instance: i.ID, Function: i.Function, Input: i.Input, rt: r, inst: i, at: at, active: r.o.Now(), delivering: true}
	a.ctx, a.cancel = context.WithCancelCause(r.ctx)
	i.mu.Lock()
	switch {
	case j != nil:
		a.m = resumeMachine(fused, j.records, j.row.tip, j.row.admitted)
	case i.fresh:
		g := i.Registration
		a.m = newMachine(fused, &g, r.clock.next(0))
		a.m.eager = i.eager
	default:
		a.m = resumeMachine(fused, nil, i.at, fused)
		i.at = tip{}
	}
	i.attempts++
	a.Number, a.crashes, a.life = i.attempts, i.crashes, i.Life
	i.current, i.note = a, ""
	fresh := i.fresh
	i.mu.Unlock()
	a.spans.start(a)

	r.mu.Lock()
	lost := at.closed && !r.draining
	if !lost {
		at.running[a] = struct{}{}
	}
	r.mu.Unlock()
	if lost {
		a.delivering = false
		a.stop(ErrWorkerLost)
		return
	}
	a.ran = true
	if fresh {
		a.settled = after(r.o.RegisterAfter, func() { a.tell(func(m *machine) { m.eager = true }) })
	}
	at.worker.Run(a)
	a.mu.Lock()
	a.delivering = false
	a.m.plan() // an eager one registers
	a.pump()
}

// take makes this sidecar's next attempt of an instance: it loads row and journal and appends an attempt record (R4).
func (r *Runtime) take(i *instance) (*journal, error) {
	for wait := r.backoff(); ; {
		j, err := loadJournal(r.ctx, r.store, i.ID)
		if err != nil {
			if err := i.blocked(r.ctx, wait, err); err != nil {
				return nil, err
			}
			continue
		}
		if j == nil {
			return nil, ErrNoSuchInstance
		}
		if j.row.state != StateRunning {
			return nil, errExists
		}
		i.mu.Lock()
		for _, rec := range j.records {
			i.crashes = max(i.crashes, rec.Crashes)
		}
		crashes := i.crashes
		i.Registration = j.row.Registration
		i.mu.Unlock()
		rec := &record{Kind: recAttempt, Gen: r.clock.next(j.row.tip.Gen), Nonce: r.random(), Crashes: crashes}
		if crashes >= r.o.MaxAttempts {
			rec.Kind, rec.Result = recParked, &Result{Parked: i.obituary()}
		}
		updates, next := appendUpdates(i.ID, j.row.tip, rec, nil, r.incarnation, false)
		switch err := r.appendOnce(r.ctx, i, updates, rec.Nonce); {
		case errors.Is(err, ErrSuperseded):
			continue
		case err != nil:
			return nil, err
		case rec.Result != nil:
			r.store.Apply(r.ctx, []backends.Update{openUpdate(i.ID, false)})
			return nil, errExists
		}
		i.unblock()
		i.mu.Lock()
		i.attempts = max(i.attempts, j.row.attempts)
		i.mu.Unlock()
		j.row.tip = next
		return j, nil
	}
}

// obituary says why an instance is given up.
func (i *instance) obituary() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.diverged != nil {
		return i.diverged
	}
	return &ParkedError{Why: fmt.Sprintf("the function crashed %d times; last: %s", i.crashes, i.note)}
}

// notRun: an attempt did not come about.
func (r *Runtime) notRun(i *instance, err error) {
	switch {
	case errors.Is(err, errExists):
		r.follow(i) // it has ended
	case errors.Is(err, ErrNoSuchInstance):
		r.end(i, Result{}, err)
	default: // the runtime closes
		r.end(i, Result{}, ErrClosing)
	}
}

// attemptEnded decides what comes after an attempt.
func (r *Runtime) attemptEnded(a *Attempt, fresh bool, result *Result, err error) {
	i := a.inst
	i.mu.Lock()
	i.current = nil
	i.fresh = i.fresh && fresh
	i.mu.Unlock()
	var crash *crashed
	var diverged *NonDeterminism
	switch {
	case err == nil:
		r.end(i, *result, nil)
	case errors.Is(err, errExists), errors.Is(err, ErrSuperseded):
		i.mu.Lock()
		i.fresh = false
		i.mu.Unlock()
		r.spawn(func() { r.follow(i) })
	case errors.Is(err, errWithdrawn):
		r.spawn(func() { r.withdraw(i, a) })
	case r.ctx.Err() != nil:
		r.end(i, Result{}, ErrClosing)
	case errors.As(err, &crash), errors.Is(err, ErrWorkerLost), errors.Is(err, ErrAttemptTimeout):
		r.again(i, err)
	case errors.As(err, &diverged):
		i.mu.Lock()
		i.crashes, i.diverged = r.o.MaxAttempts, diverged
		i.mu.Unlock()
		r.again(i, err)
	default:
		r.again(i, err)
	}
	r.release(a.at, a)
}

// again runs an instance again after a crash: at once if its worker was lost for the first time, else after a pause that doubles.
func (r *Runtime) again(i *instance, err error) {
	i.mu.Lock()
	i.crashes++
	n := i.crashes
	i.note = err.Error()
	i.eager = true
	i.mu.Unlock()
	pause := r.o.RetryMin << min(n-1, 20)
	if n == 1 && errors.Is(err, ErrWorkerLost) {
		pause = 0
	}
	if n >= r.o.MaxAttempts {
		r.spawn(func() { r.parkNow(i) })
		return
	}
	if pause == 0 {
		r.schedule(i)
		return
	}
	r.spawn(func() {
		if sleep(r.ctx, min(pause, r.o.RetryMax)) == nil {
			r.schedule(i)
			return
		}
		r.end(i, Result{}, ErrClosing)
	})
}

// parkNow gives an instance up that has crashed too often. It must be in the store for that.
func (r *Runtime) parkNow(i *instance) {
	i.mu.Lock()
	fresh, crashes := i.fresh, i.crashes
	i.mu.Unlock()
	if fresh {
		rec := r.firstRecord(&i.Registration)
		rec.Kind, rec.Crashes, rec.Result = recParked, crashes, &Result{Parked: i.obituary()}
		updates, _ := appendUpdates(i.ID, tip{}, rec, &i.Registration, r.incarnation, true)
		if err := r.appendOnce(r.ctx, i, updates, rec.Nonce); err == nil {
			r.end(i, *rec.Result, nil)
			return
		}
		i.mu.Lock()
		i.fresh = false
		i.mu.Unlock()
	}
	_, err := r.take(i) // parks it: crashes are over the limit
	r.notRun(i, err)
}
