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
//		updates, outcomes, err := b.Build(ctx)
//		… append the record's own updates, made with the outcomes, in front; Apply …
//		Applied: b.Applied()
//		Refused at one of b's updates: b.Refresh(index in b's updates, row); build again
//	}
//
// A batch that is built again is another batch: its record needs another nonce.
type Batch struct {
	cells   *Cells
	effects []Effect
	unlock  func()
	plan    []cellPlan // in order of first appearance
	fresh   map[Address]head
}

// cellPlan is what a batch does to one cell. Its effects are merged into one update.
type cellPlan struct {
	at      Address
	known   bool // value and revision are those in the store, by cache or read
	based   bool // the update asks for that revision
	value   Value
	found   bool
	rev     int64
	changes int64
}

// NewBatch prepares a batch. Effects are applied in their order.
func (c *Cells) NewBatch(effects []Effect) *Batch {
	if c.layout != LayoutBare {
		panic("daal: Batch needs a store of one scope")
	}
	b := &Batch{cells: c, effects: effects}
	var hot []Address
	for i := range effects {
		if effects[i].conditional() {
			hot = append(hot, effects[i].At)
		}
	}
	if hot != nil {
		b.unlock = c.lock(hot)
	}
	return b
}

// Build makes the updates and the outcomes that they will have had, if they are applied. It reads cells that a condition needs and
// that are not cached: one store call each.
func (b *Batch) Build(ctx context.Context) (updates []backends.Update, outcomes []Outcome, err error) {
	b.plan = b.plan[:0]
	outcomes = make([]Outcome, len(b.effects))
	for i := range b.effects {
		e := &b.effects[i]
		p := b.find(e.At)
		if e.conditional() && !p.known && p.changes == 0 {
			h, err := b.head(ctx, e.At)
			if err != nil {
				return nil, nil, fmt.Errorf("daal: read %s: %w", e.At, err)
			}
			p.known, p.value, p.found, p.rev = true, h.value, h.found, h.rev
		}
		if e.conditional() && p.known && p.changes == 0 {
			p.based = true
		}
		s := judge(e, head{value: p.value, found: p.found, rev: p.rev})
		outcomes[i] = s.outcome
		if s.changes {
			p.value, p.found = s.value, s.found
			p.changes++
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
		if p.changes > 0 {
			u.Do = append(valueChanges(p.value, p.found), backends.Change{Field: fRev, Add: p.changes})
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
	if h, ok := b.fresh[a]; ok {
		return h, nil
	}
	if e, ok := b.cells.cache.get(a); ok {
		return e.head, nil
	}
	return b.cells.load(ctx, a)
}

// Refresh takes in what the store said of the cell of update i, which refused it.
func (b *Batch) Refresh(i int, row backends.Row) {
	if b.fresh == nil {
		b.fresh = map[Address]head{}
	}
	b.fresh[b.plan[i].at] = headOf(row)
}

// Applied tells the cache that the batch, as last built, is in the store.
func (b *Batch) Applied() {
	for i := range b.plan {
		p := &b.plan[i]
		if p.based {
			b.cells.cache.put(p.at, cached{head: head{value: p.value, found: p.found, rev: p.rev + p.changes}})
		} else if p.changes > 0 {
			// A blind write does not know its revision.
			b.cells.cache.drop(p.at)
		}
	}
}

// Close releases the cells. Without Applied, what is remembered of them is forgotten: the batch may have been applied all the same.
func (b *Batch) Close(applied bool) {
	if !applied {
		for i := range b.plan {
			b.cells.cache.drop(b.plan[i].at)
		}
	}
	if b.unlock != nil {
		b.unlock()
	}
}
