package intent

import (
	"context"
	"errors"
	"fmt"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
)

// errWithdrawn: the registry fence has passed the caller's generation; the instance was not admitted and its row is taken back (R11).
var errWithdrawn = errors.New("intent: registration withdrawn")

// errExists: the instance to be inserted is there already; this run ends, and the caller waits for the registered one (R11).
var errExists = errors.New("intent: the instance exists")

// cellEffect is the effect on a cell that an operation stands for; ok is false for invokes and the like.
func cellEffect(id daal.InstanceID, fn Function, e *effect, gen daal.Generation) (x daal.Effect, ok bool, err error) {
	x = daal.Effect{
		ID: daal.LogID{Instance: id, Step: e.entry.Step}, Gen: gen, Digest: e.entry.Digest, Value: e.op.Value,
		At: daal.Address{Service: fn.Service, Table: e.op.Table, Key: e.op.Key},
	}
	switch e.op.Kind {
	case OpWrite:
		x.Kind = daal.Write
	case OpDelete:
		x.Kind = daal.Delete
	case OpCondWrite:
		x.Kind = daal.CondWrite
		x.Program, err = daal.CompileCondition(e.op.Expr)
	case OpUpdate:
		x.Kind = daal.Update
		x.Program, err = daal.CompileExpression(e.op.Expr)
	default:
		return x, false, nil
	}
	return x, true, err
}

// perform carries out a commit and returns what became of it. It asks again until the store has said what it did: no answer is
// never taken for a no.
func (a *Attempt) perform(ctx context.Context, c *commit) committed {
	for _, e := range c.effects {
		if e.op.Kind == OpInvoke || e.op.Kind == OpStart {
			e.callee = a.rt.callee(a, e)
		}
	}
	if a.m.fused {
		return a.performFused(ctx, c)
	}
	if c.kind == 0 {
		return a.performEffect(ctx, c)
	}
	return a.performAppend(ctx, c)
}

// revision is the nonce of a batch as the revision of the cells that it changes: not 0, which is that of a cell never written.
func revision(nonce uint64) int64 {
	if nonce == 0 {
		nonce = 1
	}
	return int64(nonce)
}

// record makes the record of a commit.
func (a *Attempt) record(c *commit, gen daal.Generation, nonce uint64, outcomes []daal.Outcome) *record {
	rec := &record{Kind: c.kind, Gen: gen, Nonce: nonce, Input: c.input(), Entries: c.entries, Result: c.result, Crashes: a.crashes}
	if len(c.effects) == 0 || len(outcomes) == 0 {
		return rec
	}
	rec.Entries = c.entries[:len(c.entries):len(c.entries)]
	for i, e := range c.effects {
		if e.op.Kind != OpBeginRecord { // it has no result yet
			done, _ := entryOf(e, &outcomes[i])
			rec.Entries = append(rec.Entries, done)
		}
	}
	return rec
}

// part says what an update of a fused batch belongs to.
type part struct {
	kind   partKind
	effect int // calleeRow, calleeFence
	cell   int // index among the cells' updates
}

type partKind uint8

const (
	ownRow partKind = iota
	ownFence
	calleeRow
	calleeFence
	cellPart
	freePart // has no condition
)

// performFused makes one atomic batch of the record and the effects that it covers (D7). Own row first: a superseded attempt is refused
// there. A batch with another content has another nonce; all nonces that were sent and not answered are remembered, because the refusal of a
// later batch by one of them means that it was applied.
func (a *Attempt) performFused(ctx context.Context, c *commit) committed {
	cells := make([]daal.Effect, 0, len(c.effects))
	where := make([]int, len(c.effects)) // index in cells, or -1
	for i, e := range c.effects {
		x, ok, err := cellEffect(a.Instance, a.Function, e, c.gen)
		if err != nil {
			return committed{err: fmt.Errorf("intent: step %s: %w", e.entry.Step, err)}
		}
		where[i] = -1
		if ok {
			where[i] = len(cells)
			cells = append(cells, x)
		}
	}
	batch := a.rt.cells.NewBatch(cells)
	defer batch.Close()

	gen := c.gen
	registered := make([]bool, len(c.effects)) // callees that are in the store already
	sent := map[uint64]committed(nil)
	wait := a.rt.backoff()
	for {
		nonce := a.rt.random()
		cellUpdates, cellOutcomes, err := batch.Build(ctx, revision(nonce))
		if err != nil {
			if err := a.blocked(ctx, wait, err); err != nil {
				return committed{err: err}
			}
			continue
		}
		outcomes := make([]daal.Outcome, len(c.effects))
		for i := range outcomes {
			if where[i] >= 0 {
				outcomes[i] = cellOutcomes[where[i]]
			}
		}
		rec := a.record(c, gen, nonce, outcomes)
		updates, next := appendUpdates(a.Instance, c.tip, rec, c.insert, a.rt.incarnation, false)
		parts := make([]part, 2, len(updates)+len(cellUpdates)+4)
		parts[1].kind = freePart
		if planted("done-outside") && rec.Kind == recDone && c.insert == nil {
			updates[0].When = nil
		}
		if c.insert != nil {
			updates = append(updates, admitUpdate(a.Instance, c.insert.CallerGen))
			parts = append(parts, part{kind: ownFence})
		}
		if (c.insert != nil) != rec.Kind.last() { // open from the insert to the end; never, if these are one
			updates = append(updates, openUpdate(a.Instance, c.insert != nil))
			parts = append(parts, part{kind: freePart})
		}
		for i, e := range c.effects {
			if e.callee == nil || registered[i] {
				continue
			}
			e.callee.CallerGen = gen
			var up []backends.Update
			up, e.callee.at = appendUpdates(e.callee.ID, tip{}, a.rt.firstRecord(e.callee), e.callee, a.rt.incarnation, true)
			updates = append(updates, up[0], up[1], openUpdate(e.callee.ID, true), admitUpdate(e.callee.ID, gen))
			parts = append(parts, part{kind: calleeRow, effect: i}, part{kind: freePart}, part{kind: freePart}, part{kind: calleeFence, effect: i})
		}
		for i := range cellUpdates {
			updates = append(updates, cellUpdates[i])
			parts = append(parts, part{kind: cellPart, cell: i})
		}
		result := committed{tip: next, gen: gen, outcomes: outcomes}

	again:
		answer := a.rt.store.Apply(ctx, updates)
		switch answer.Outcome {
		case backends.Applied:
			batch.Applied()
			a.unblocked()
			return result
		case backends.Unknown:
			if planted("unknown-is-refused") {
				return committed{tip: c.tip, gen: c.gen, outcomes: make([]daal.Outcome, len(c.effects))}
			}
			if sent == nil {
				sent = map[uint64]committed{}
			}
			sent[rec.Nonce] = result
			if err := a.blocked(ctx, wait, answer.Err); err != nil {
				return committed{err: err}
			}
			goto again // the same batch: if it was applied, it is refused by its own nonce
		}
		switch p := parts[answer.Index]; p.kind {
		case ownRow:
			now := parseTip(answer.Row.Bytes(fTip))
			if won, ok := sent[now.Nonce]; ok {
				return won
			}
			if c.insert != nil && answer.Row.Exists() {
				return committed{err: errExists}
			}
			return committed{err: ErrSuperseded}
		case ownFence: // a request from outside, behind the fence by skewed clocks: it takes a later generation
			if c.insert.Caller != "" {
				return committed{err: errWithdrawn}
			}
			c.insert.CallerGen = a.rt.clock.next(daal.Generation(answer.Row.Int(fFence)))
		case calleeRow:
			registered[p.effect] = true
			c.effects[p.effect].callee.at = tip{}
		case calleeFence: // renew, in the same batch (R9)
			gen = a.rt.clock.next(max(gen, daal.Generation(answer.Row.Int(fFence))))
		case cellPart:
			batch.Refresh(p.cell, answer.Row)
		default:
			return committed{err: fmt.Errorf("intent: assertion: an update without condition was refused: %v", updates[answer.Index].Key)}
		}
		if err := ctx.Err(); err != nil {
			return committed{err: err}
		}
	}
}

// performAppend appends a record alone (logged mode). Rows that are hints are put before and taken away after.
func (a *Attempt) performAppend(ctx context.Context, c *commit) committed {
	gen := c.gen
	if c.renewAbove > 0 {
		gen = a.rt.clock.next(max(gen, c.renewAbove))
	}
	rec := a.record(c, gen, a.rt.random(), nil)
	if c.insert != nil {
		if err := a.rt.applyBlind(ctx, a, openUpdate(a.Instance, true)); err != nil {
			return committed{err: err}
		}
	}
	updates, next := appendUpdates(a.Instance, c.tip, rec, c.insert, a.rt.incarnation, c.admit)
	if planted("done-outside") && rec.Kind == recDone {
		updates[0].When = []backends.Cond{{Test: backends.Exists}}
	}
	switch err := a.rt.appendOnce(ctx, a, updates, rec.Nonce); {
	case err != nil:
		return committed{err: err}
	case rec.Kind.last():
		// Only a hint is left behind if this fails: a collector that finds it sees that the instance is done.
		a.rt.store.Apply(ctx, []backends.Update{openUpdate(a.Instance, false)})
	}
	return committed{tip: next, gen: gen}
}

// appendOnce applies an append until the store says what became of it: nil if it is in the chain, errExists or ErrSuperseded if it is not and
// never will be.
func (r *Runtime) appendOnce(ctx context.Context, b blockable, updates []backends.Update, nonce uint64) error {
	wait := r.backoff()
	insert := updates[0].When[0].Test == backends.Missing
	for {
		answer := r.store.Apply(ctx, updates)
		switch answer.Outcome {
		case backends.Applied:
			b.unblocked()
			return nil
		case backends.Refused:
			if parseTip(answer.Row.Bytes(fTip)).Nonce == nonce { // a lost answer to one's own append is not supersession
				return nil
			}
			if insert && answer.Row.Exists() {
				return errExists
			}
			return ErrSuperseded
		}
		if err := b.blocked(ctx, wait, answer.Err); err != nil {
			return err
		}
	}
}

// applyBlind applies an update without conditions until it is applied.
func (r *Runtime) applyBlind(ctx context.Context, b blockable, u backends.Update) error {
	for wait := r.backoff(); ; {
		answer := r.store.Apply(ctx, []backends.Update{u})
		if answer.Outcome == backends.Applied {
			b.unblocked()
			return nil
		}
		if err := b.blocked(ctx, wait, answer.Err); err != nil {
			return err
		}
	}
}

// performEffect issues one effect (logged mode, R3).
func (a *Attempt) performEffect(ctx context.Context, c *commit) committed {
	e := c.effects[0]
	done := committed{tip: c.tip, gen: c.gen, outcomes: make([]daal.Outcome, 1)}
	x, ok, err := cellEffect(a.Instance, a.Function, e, c.gen)
	if err != nil {
		return committed{err: fmt.Errorf("intent: step %s: %w", e.entry.Step, err)}
	}
	if !ok {
		return a.performRegister(ctx, c, e)
	}
	for wait := a.rt.backoff(); ; {
		o, err := a.rt.cells.Apply(ctx, &x)
		var fenced *daal.Fenced
		var other *daal.OtherOperation
		switch {
		case err == nil:
			a.unblocked()
			done.outcomes[0] = o
			return done
		case errors.As(err, &fenced):
			done.fenced = fenced.Fence
			return done
		case errors.As(err, &other):
			return committed{err: &NonDeterminism{Step: e.entry.Step, Recorded: "another operation", Repeated: e.entry.describe()}}
		}
		if err := a.blocked(ctx, wait, err); err != nil {
			return committed{err: err}
		}
	}
}

// performRegister inserts a callee (logged mode). That its row is there is an answer, too. Whether an invoked one was admitted is settled by its own attempt (R11): if
// not, who waits for its result finds it missing and comes back here under a new generation. Nobody waits for a started one, so its admission is
// settled here.
func (a *Attempt) performRegister(ctx context.Context, c *commit, e *effect) committed {
	if e.again { // it was withdrawn: the fence tells how far to renew
		fence, err := a.rt.readFence(ctx, a, e.callee.ID)
		if err != nil {
			return committed{err: err}
		}
		if fence >= c.gen {
			return committed{tip: c.tip, gen: c.gen, fenced: fence}
		}
	}
	e.callee.CallerGen = c.gen
	if err := a.rt.applyBlind(ctx, a, openUpdate(e.callee.ID, true)); err != nil {
		return committed{err: err}
	}
	rec := a.rt.firstRecord(e.callee)
	updates, at := appendUpdates(e.callee.ID, tip{}, rec, e.callee, a.rt.incarnation, false)
	switch err := a.rt.appendOnce(ctx, a, updates, rec.Nonce); {
	case err == nil:
		e.callee.at = at
	case !errors.Is(err, errExists):
		return committed{err: err}
	}
	if e.op.Kind == OpStart {
		switch fence, err := a.rt.admit(ctx, a, e.callee); {
		case errors.Is(err, errWithdrawn):
			return committed{tip: c.tip, gen: c.gen, fenced: fence}
		case err != nil:
			return committed{err: err}
		}
	}
	return committed{tip: c.tip, gen: c.gen, outcomes: make([]daal.Outcome, 1)}
}

// admit settles the admission of an instance that has been inserted (logged mode, R11): nil means that its row stays. After errWithdrawn it is gone, and comes in only with a
// generation above the fence that is returned. Where the row is still as this sidecar has inserted it, its attempt record is the tip and the fence is read now, after it; otherwise
// an attempt has taken over and decides.
func (r *Runtime) admit(ctx context.Context, b blockable, g *Registration) (fence daal.Generation, err error) {
	for wait := r.backoff(); ; {
		row, err := loadRow(ctx, r.store, g.ID)
		switch {
		case err != nil:
			if err := b.blocked(ctx, wait, err); err != nil {
				return 0, err
			}
			continue
		case row == nil:
			fence, err := r.readFence(ctx, b, g.ID)
			if err != nil {
				return 0, err
			}
			return max(fence, g.CallerGen), errWithdrawn
		case row.admitted || row.state != StateRunning:
			return 0, nil
		case row.tip != g.at:
			if err := wait.sleep(ctx); err != nil {
				return 0, err
			}
			continue
		}
		if fence, err = r.readFence(ctx, b, g.ID); err != nil {
			return 0, err
		}
		u := backends.Update{Key: instanceKey(g.ID), Do: []backends.Change{{Field: fAdmitted, Set: backends.Int(1)}}}
		if row.CallerGen <= fence {
			u.Do, u.Delete = nil, true
		}
		u.When = unadmittedAt(g.at)
		if r.store.Apply(ctx, []backends.Update{u}).Outcome == backends.Unknown {
			if err := wait.sleep(ctx); err != nil { // the row tells what became of it
				return 0, err
			}
		}
	}
}

// unadmittedAt asks that a row be neither admitted nor appended to since `at`.
func unadmittedAt(at tip) []backends.Cond {
	return []backends.Cond{
		{Test: backends.Equal, Field: fTip, Value: backends.Bytes(at.bytes())},
		{Test: backends.Absent, Field: fAdmitted},
	}
}
