package daal

import (
	"context"
	"fmt"

	"github.com/beldi/beldi/backends"
)

// Batch is a run of effects that is applied in one store batch with the journal record that covers it (D7). Use:
//
//	b := cells.NewBatch(effects)
//	defer b.Close()
//	for {
//		updates, outcomes, err := b.Build(ctx, revision)
//		… append the record's own updates, made with the outcomes, in front; Apply …
//		Applied: b.Applied()
//		Refused at one of b's updates: b.Refresh(index in b's updates, row); build again
//	}
//
// A batch that is built again is another batch: it needs another revision, and its record another nonce.
//
// A revision of a bare cell is the name of the batch that made it, never used again. So a batch may be built over what another one, still on
// its way, will have made of the cell: if that one is not applied, the revision is not there, and this one is refused. Batches that
// increment the same cell therefore share a sync; with a counter for a revision each would have to wait for the one before.
type Batch struct {
	cells   *Cells
	effects []Effect
	hot     []Address  // cells that conditions look at
	plan    []cellPlan // in order of first appearance
	rev     int64
	applied bool
}

// cellPlan is what a batch does to one cell. Its effects are merged into one update.
type cellPlan struct {
	at      Address
	known   bool // value and revision are as remembered or read
	based   bool // the update asks for that revision
	changes bool
	value   Value
	found   bool
	rev     int64
}

// NewBatch prepares a batch. Effects are applied in their order.
func (c *Cells) NewBatch(effects []Effect) *Batch {
	if c.layout != LayoutBare {
		panic("daal: Batch needs a store of one scope")
	}
	b := &Batch{cells: c, effects: effects}
	for i := range effects {
		if effects[i].conditional() {
			b.hot = append(b.hot, effects[i].At)
		}
	}
	return b
}

// Build makes the updates and the outcomes that they will have had, if they are applied. It reads cells that a condition needs and
// that are not remembered: one store call each. What it makes of the cells is remembered at once.
func (b *Batch) Build(ctx context.Context, revision int64) (updates []backends.Update, outcomes []Outcome, err error) {
	if b.hot != nil { // one builds at a time, so that each builds on the one before
		unlock := b.cells.lock(b.hot)
		defer unlock()
	}
	b.plan, b.rev = b.plan[:0], revision
	outcomes = make([]Outcome, len(b.effects))
	for i := range b.effects {
		e := &b.effects[i]
		p := b.find(e.At)
		if e.conditional() && !p.changes {
			if !p.known {
				h, err := b.head(ctx, e.At)
				if err != nil {
					return nil, nil, fmt.Errorf("daal: read %s: %w", e.At, err)
				}
				p.known, p.value, p.found, p.rev = true, h.value, h.found, h.rev
			}
			p.based = true
		}
		s := judge(e, head{value: p.value, found: p.found, rev: p.rev})
		outcomes[i] = s.outcome
		if s.changes {
			p.value, p.found, p.changes = s.value, s.found, true
		}
	}
	updates = make([]backends.Update, len(b.plan))
	for i := range b.plan {
		p := &b.plan[i]
		u := &updates[i]
		u.Key = backends.Key{Kind: backends.KindCell, Part: Part(p.at)}
		if p.based {
			u.When = []backends.Cond{revisionIs(p.rev)}
		}
		if p.changes {
			u.Replace = true // value, type and revision are all that a bare cell has
			u.Do = append(valueChanges(p.value, p.found), backends.Change{Field: fRev, Set: backends.Int(revision)})
			e := cached{head: head{value: p.value, found: p.found, rev: revision}}
			if p.based {
				b.cells.cache.put(p.at, e)
			} else { // nobody has asked for it with a condition: not worth a place of its own
				b.cells.cache.update(p.at, e)
			}
		}
	}
	return updates, outcomes, nil
}

func (b *Batch) find(a Address) *cellPlan {
	for i := range b.plan {
		if b.plan[i].at == a {
			return &b.plan[i]
		}
	}
	b.plan = append(b.plan, cellPlan{at: a})
	return &b.plan[len(b.plan)-1]
}

func (b *Batch) head(ctx context.Context, a Address) (head, error) {
	if e, ok := b.cells.cache.get(a); ok {
		return e.head, nil
	}
	return b.cells.load(ctx, a)
}

// Refresh takes in what the store said of the cell of update i, which refused it.
func (b *Batch) Refresh(i int, row backends.Row) {
	b.forget()
	b.cells.cache.put(b.plan[i].at, cached{head: headOf(row)})
}

// Applied says that the batch, as last built, is in the store.
func (b *Batch) Applied() { b.applied = true }

// Close ends the use of the batch.
func (b *Batch) Close() {
	if !b.applied {
		b.forget()
	}
}

// forget drops what was remembered of the batch's cells before it was applied, as far as nobody has built on it.
func (b *Batch) forget() {
	for i := range b.plan {
		if p := &b.plan[i]; p.changes {
			b.cells.cache.dropRevision(p.at, b.rev)
		}
	}
}
