package intent

import (
	"context"
	"fmt"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
)

// Report is what one pass of the intent collector did.
type Report struct {
	Open, TakenOver int
}

// Run does the background work until ctx ends or the runtime is closed: liveness, the intent collector, time-outs.
func (r *Runtime) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(r.ctx, cancel)
	defer stop()
	exclusive := r.store.Capabilities().Exclusive
	every := r.o.Lease / 3
	if err := r.heartbeat(ctx); err != nil {
		return err
	}
	for {
		if _, err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
			// The next pass tries again; what blocks the store shows at the instances.
			_ = err
		}
		// Jitter, so that the sidecars of a store do not sweep together.
		pause := every/2 + time.Duration(r.random()%uint64(every))
		for pause > 0 {
			tick := min(pause, r.o.AttemptTimeout/4, time.Second)
			if sleep(ctx, tick) != nil {
				return nil
			}
			pause -= tick
			r.expire()
		}
		if !exclusive {
			if err := r.heartbeat(ctx); err != nil {
				return nil
			}
		}
	}
}

// heartbeat renews the lease of this sidecar: one row for all its instances. A store that one process owns needs none.
func (r *Runtime) heartbeat(ctx context.Context) error {
	if r.store.Capabilities().Exclusive {
		return nil
	}
	until := r.o.Now().Add(r.o.Lease).UnixMilli()
	err := r.applyBlind(ctx, quiet{}, backends.Update{
		Key: sidecarKey(r.incarnation), Do: []backends.Change{{Field: fUntil, Set: backends.Int(until)}},
	})
	if err != nil {
		return fmt.Errorf("intent: renew the lease: %w", err)
	}
	return nil
}

// dead returns whether the owner of an instance is known to be gone. Wrong answers cost work, not safety (R6).
func (r *Runtime) dead(ctx context.Context, owner string) (bool, error) {
	if owner == "" || owner == r.incarnation || r.store.Capabilities().Exclusive {
		return true, nil
	}
	row, err := r.store.Get(ctx, sidecarKey(owner))
	if err != nil {
		return false, fmt.Errorf("intent: look for sidecar %s: %w", owner, err)
	}
	return !row.Exists() || row.Int(fUntil) < r.o.Now().UnixMilli(), nil
}

// takeoverBatch bounds how many instances one pass takes over: the rest is for the next, or for other sidecars.
const takeoverBatch = 1000

// Sweep is one pass of the intent collector (R6): instances that are open and whose sidecar is gone are run again here.
func (r *Runtime) Sweep(ctx context.Context) (Report, error) {
	var rep Report
	first := int(r.random() % shards)
	for n := range shards {
		shard := fmt.Sprintf("%02x", (first+n)%shards)
		q := backends.Range{Kind: backends.KindOpen, Part: shard, Limit: 256}
		for {
			page, err := r.store.Query(ctx, q)
			if err != nil {
				return rep, fmt.Errorf("intent: sweep: %w", err)
			}
			for _, e := range page {
				rep.Open++
				taken, err := r.consider(ctx, daal.InstanceID(e.Key.Sort))
				if err != nil {
					return rep, err
				}
				if taken {
					rep.TakenOver++
				}
				if rep.TakenOver >= takeoverBatch {
					return rep, nil
				}
			}
			if len(page) < q.Limit {
				break
			}
			q.After = page[len(page)-1].Key
		}
	}
	return rep, nil
}

// consider looks at one open instance.
func (r *Runtime) consider(ctx context.Context, id daal.InstanceID) (taken bool, err error) {
	r.mu.Lock()
	_, here := r.instances[id]
	draining := r.draining
	r.mu.Unlock()
	if here || draining {
		return false, nil
	}
	row, err := loadRow(ctx, r.store, id)
	if err != nil || row == nil { // no row: about to be inserted, or collected
		return false, err
	}
	if row.state != StateRunning {
		// The hint outlived the instance.
		r.store.Apply(ctx, []backends.Update{openUpdate(id, false)})
		return false, nil
	}
	dead, err := r.dead(ctx, row.owner)
	if err != nil || !dead {
		return false, err
	}
	n := r.newInstance(row.Registration)
	n.digest = row.digest
	i, made := r.enter(n)
	if made {
		r.schedule(i)
	}
	return made, nil
}

// follow finds out what has become of an instance that this sidecar does not run: it has ended, another sidecar runs it – then it is watched,
// with back-off – or nobody does.
func (r *Runtime) follow(i *instance) {
	for wait := r.backoff(); ; {
		row, err := loadRow(r.ctx, r.store, i.ID)
		if err == nil && row == nil {
			i.mu.Lock()
			again := i.request
			i.fresh = again
			i.mu.Unlock()
			if again { // the request is still here, its row is not
				r.schedule(i)
			} else {
				r.end(i, Result{}, ErrNoSuchInstance)
			}
			return
		}
		if err == nil && row.state != StateRunning {
			var result *Result
			if result, err = loadResult(r.ctx, r.store, row); err == nil {
				if result == nil {
					r.end(i, Result{}, ErrNoSuchInstance)
				} else {
					r.end(i, *result, nil)
				}
				return
			}
		}
		if err == nil {
			var dead bool
			if dead, err = r.dead(r.ctx, row.owner); err == nil && dead {
				i.mu.Lock()
				i.fresh, i.at = false, tip{}
				i.mu.Unlock()
				r.schedule(i)
				return
			}
		}
		if err != nil {
			i.block(err, wait.tries >= stuckAfter)
		} else {
			i.unblock()
			i.say("runs in another sidecar")
		}
		if wait.sleep(r.ctx) != nil {
			r.end(i, Result{}, ErrClosing)
			return
		}
	}
}

// expire ends attempts whose function has computed too long.
func (r *Runtime) expire() {
	r.mu.Lock()
	var late []*Attempt
	now := r.o.Now()
	for _, i := range r.instances { // order does not matter: each is judged by itself
		i.mu.Lock()
		if a := i.current; a != nil {
			late = append(late, a)
		}
		i.mu.Unlock()
	}
	r.mu.Unlock()
	for _, a := range late {
		a.mu.Lock()
		over := a.owing <= 0 && !a.m.busy && now.Sub(a.active) > r.o.AttemptTimeout
		a.mu.Unlock()
		if over {
			a.stop(ErrAttemptTimeout)
		}
	}
}

// readFence reads the registry fence of an instance, until the store answers.
func (r *Runtime) readFence(ctx context.Context, b blockable, id daal.InstanceID) (daal.Generation, error) {
	for wait := r.backoff(); ; {
		row, err := r.store.Get(ctx, registryFence(id))
		if err == nil {
			b.unblocked()
			return daal.Generation(row.Int(fFence)), nil
		}
		if err := b.blocked(ctx, wait, err); err != nil {
			return 0, err
		}
	}
}

// withdraw takes back the row of an instance that was not admitted (R11), on condition that nobody has admitted it or appended to it since. The caller finds it
// missing and registers it again; a request from outside takes a later generation.
func (r *Runtime) withdraw(i *instance, a *Attempt) {
	r.store.Apply(r.ctx, []backends.Update{{Key: instanceKey(i.ID), Delete: true, When: unadmittedAt(a.m.tip)}})
	if i.Caller == "" {
		fence, err := r.readFence(r.ctx, i, i.ID)
		if err != nil {
			r.end(i, Result{}, ErrClosing)
			return
		}
		i.mu.Lock()
		i.CallerGen = r.clock.next(fence)
		i.mu.Unlock()
	}
	r.follow(i)
}

// Drain stops taking work: no new attempts begin, running ones go on until ctx ends, then leases are released.
func (r *Runtime) Drain(ctx context.Context) error {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	var err error
	for r.busy() {
		if sleep(ctx, 5*time.Millisecond) != nil {
			err = fmt.Errorf("intent: drain: %w", ctx.Err())
			break
		}
	}
	if !r.store.Capabilities().Exclusive {
		r.store.Apply(context.WithoutCancel(ctx), []backends.Update{{Key: sidecarKey(r.incarnation), Delete: true}})
	}
	return err
}

func (r *Runtime) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.instances {
		i.mu.Lock()
		running := i.current != nil
		i.mu.Unlock()
		if running {
			return true
		}
	}
	return false
}

// Instances lists instances in order of id.
func (r *Runtime) Instances(ctx context.Context, f InstanceFilter) (list []InstanceInfo, next daal.InstanceID, err error) {
	q := backends.Range{Kind: backends.KindInstance, Limit: 512}
	if f.After != "" {
		q.After = backends.Key{Kind: backends.KindInstance, Part: string(f.After), Sort: "\xff"}
	}
	for {
		page, err := r.store.Scan(ctx, q)
		if err != nil {
			return nil, "", fmt.Errorf("%w: %w", ErrStore, err)
		}
		for _, e := range page {
			if e.Key.Sort != "" {
				continue
			}
			row, err := decodeInstance(daal.InstanceID(e.Key.Part), e.Row)
			if err != nil {
				return nil, "", err
			}
			if f.State != 0 && f.State != row.state || f.Function.Service != "" && f.Function.Service != row.Function.Service ||
				f.Function.Name != "" && f.Function.Name != row.Function.Name {
				continue
			}
			if len(list) == f.Limit {
				return list, list[len(list)-1].ID, nil
			}
			list = append(list, r.info(row))
		}
		if len(page) < q.Limit {
			return list, "", nil
		}
		q.After = page[len(page)-1].Key
	}
}

func (r *Runtime) info(row *instanceRow) InstanceInfo {
	in := InstanceInfo{
		ID: row.ID, Function: row.Function, State: row.state, Created: row.Created, Caller: row.Caller, CallerStep: row.CallerStep, Trace: row.Trace, Attempts: row.attempts,
	}
	r.mu.Lock()
	i := r.instances[row.ID]
	r.mu.Unlock()
	if i != nil && row.state == StateRunning {
		i.mu.Lock()
		in.Note = i.note
		i.mu.Unlock()
	}
	return in
}

// Instance returns one instance with its journal.
func (r *Runtime) Instance(ctx context.Context, id daal.InstanceID) (*InstanceDetail, error) {
	j, err := loadJournal(ctx, r.store, id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	if j == nil {
		return nil, ErrNoSuchInstance
	}
	d := &InstanceDetail{InstanceInfo: r.info(j.row), Input: j.row.Input, Result: j.last().Result}
	for n, rec := range j.records {
		info := RecordInfo{Position: int64(n + 1), Kind: rec.Kind.String(), Generation: rec.Gen}
		for k := range rec.Entries {
			e := rec.Entries[k]
			info.Entries = append(info.Entries, EntryInfo{Step: e.Step, Operation: e.describe(), Effect: e.Effect, Result: e.outcome().Value})
		}
		d.Journal = append(d.Journal, info)
	}
	return d, nil
}
