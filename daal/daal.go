// Package daal keeps cells: values with exactly-once, fenced updates and a log that shares an atomic scope with the data
// (the linked DAAL of Beldi, OSDI'20, section 4; protocol.md R3, R8, D1–D7).
//
// A cell has one of three layouts, chosen by the store's scope (Layout):
//
//	bare     the store is one atomic scope. An effect stands in one batch with the journal record that covers it, so it
//	         needs neither log nor fence (D7, docs/decisions/0001). A cell is one row.
//	entries  the partition is the scope. Log entries are rows beside the head row, in its partition.
//	rows     the row is the scope. Value and log share rows 0, 1, 2…; the highest is the tail, those below are frozen.
//
// Invariants, tested by name:
//
//	D1  The row with the highest number is the tail; rows below it are frozen and never change but for being deleted.
//	D2  An update of the tail asks: not frozen, the log lacks the effect, generation above the fence, log not full –
//	    and, but for row 0, that the row exists.
//	D3  A roll-over puts row n+1 and freezes row n in one transaction, on condition of the revision that was copied; value,
//	    fence and lock go along.
//	D4  The cache of tail number and frozen log ids is filled tail first; both change together.
//	D5  Row 0 is never deleted; a deleted value leaves a tombstone with fence and revision. A frozen row goes only after the
//	    fence was raised on the row that was the tail then.
//	D6  A hole below the tail means deleted, nothing else. All reads are strong.
//	D7  (bare) An effect is applied only in one batch with the append of the record that covers it.
//	R3  First the log (its outcome is the answer, whatever the generation), then the fence, then the operation's condition.
//	R8  A prune removes entries and raises the fence, never lowers it, in one update.
package daal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/beldi/beldi/backends"
)

// Layout is how cells lie in the store.
type Layout uint8

const (
	LayoutBare Layout = iota + 1
	LayoutEntries
	LayoutRows
)

func (l Layout) String() string { return [...]string{"?", "bare", "entries", "rows"}[l] }

// Options of Cells. The zero value works.
type Options struct {
	// RowCapacity is how many log entries a row takes before the cell rolls over (LayoutRows). Default 64: a write is
	// billed by the whole row.
	RowCapacity int
	// CacheBytes bounds the cache of heads. Default 4 MiB.
	CacheBytes int
}

// Cells reads and changes cells. Safe for concurrent use.
type Cells struct {
	store    backends.Store
	layout   Layout
	capacity int64
	cache    headCache
	locks    [lockStripes]chan struct{}
}

// New makes Cells over a store.
func New(store backends.Store, o Options) *Cells {
	if o.RowCapacity == 0 {
		o.RowCapacity = 64
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 4 << 20
	}
	c := &Cells{store: store, capacity: int64(o.RowCapacity)}
	switch store.Capabilities().Scope {
	case backends.ScopeStore:
		c.layout = LayoutBare
	case backends.ScopePartition:
		c.layout = LayoutEntries
	default:
		c.layout = LayoutRows
	}
	c.cache.init(o.CacheBytes)
	for i := range c.locks {
		c.locks[i] = make(chan struct{}, 1)
	}
	return c
}

// Layout tells how effects must be applied: LayoutBare by Batch, the others by Apply.
func (c *Cells) Layout() Layout { return c.layout }

// EffectKind is what an effect does to a cell.
type EffectKind uint8

const (
	Write EffectKind = iota + 1
	Delete
	CondWrite
	Update
)

// Effect is one named change of a cell.
type Effect struct {
	ID   LogID
	Gen  Generation
	At   Address
	Kind EffectKind
	// Write, CondWrite: the new value. Update: the variable `input`.
	Value Value
	// CondWrite, Update.
	Program *Program
	// Digest of the operation and its arguments: a logged effect of the same name and another digest is *OtherOperation.
	Digest uint64
}

// Outcome is what an effect came to: logged with it, the same for every repetition.
type Outcome struct {
	// Applied: the value was changed. False for a condition that did not hold, and where Failed is set.
	Applied bool
	// Value is the new value of an Update, if HasValue: over MaxReturned it is not kept.
	Value    Value
	HasValue bool
	// Failed says why the expression failed at run time, "" if it did not.
	Failed string
	// Repeated: the effect was in the log already.
	Repeated bool
}

// Limits of values, in bytes.
const (
	MaxReturned = 1 << 10   // what an Update returns and the log keeps
	MaxValue    = 256 << 10 // what a cell holds
)

// Errors of Apply. Any other error, ErrUnknown included, leaves open whether the effect was applied: issue it again.
var ErrUnknown = errors.New("daal: the store did not say whether the effect was applied")

// Fenced: the effect's generation is not above the cell's fence. It was not applied; the attempt must renew above Fence (R9).
type Fenced struct{ Fence Generation }

func (e *Fenced) Error() string { return fmt.Sprintf("daal: fenced at generation %d", e.Fence) }

// OtherOperation: the log has an effect of this name that is another operation (R4).
type OtherOperation struct{ ID LogID }

func (e *OtherOperation) Error() string {
	return fmt.Sprintf("daal: %s is logged as another operation", e.ID)
}

// Field names of cell rows.
const (
	fValue  = "v"
	fType   = "t" // content type, absent for JSON
	fRev    = "r" // bare: names the batch that made the value; entries: counts changes of it; rows: counts every update
	fFence  = "f"
	fFrozen = "z"
	fCount  = "n" // rows: entries in this row's log
	logMark = "#" // rows: prefix of log entries
)

// Part is the partition of a cell.
func Part(a Address) string { return backends.Tuple(a.Service, a.Table, a.Key) }

// head is what is known of a cell's value.
type head struct {
	value Value
	found bool
	rev   int64
}

func headOf(r backends.Row) head {
	v := r.Get(fValue)
	return head{value: Value{Data: v.Bytes, Type: r.Text(fType)}, found: !v.Absent(), rev: r.Int(fRev)}
}

// revisionIs is the condition that nothing has changed since h was read.
func revisionIs(rev int64) backends.Cond {
	v := backends.Value{}
	if rev != 0 {
		v = backends.Int(rev)
	}
	return backends.Cond{Test: backends.Equal, Field: fRev, Value: v}
}

// step is what an effect makes of a value.
type step struct {
	outcome Outcome
	changes bool
	value   Value
	found   bool
}

// judge evaluates an effect over a value. It is pure: R3's "operation's own condition".
func judge(e *Effect, h head) step {
	switch e.Kind {
	case Write:
		return step{Outcome{Applied: true}, true, e.Value, true}
	case Delete:
		return step{Outcome{Applied: true}, true, Value{}, false}
	case CondWrite:
		ok, err := e.Program.condition(h.value, h.found, e.Value)
		if err != nil {
			return step{outcome: Outcome{Failed: err.Error()}}
		}
		return step{Outcome{Applied: ok}, ok, e.Value, true}
	case Update:
		v, err := e.Program.compute(h.value, h.found, e.Value)
		if err == nil && len(v.Data) > MaxValue {
			err = fmt.Errorf("the new value has %d bytes, the limit is %d", len(v.Data), MaxValue)
		}
		if err != nil {
			return step{outcome: Outcome{Failed: err.Error()}}
		}
		o := Outcome{Applied: true}
		if len(v.Data) <= MaxReturned {
			o.Value, o.HasValue = v, true
		}
		return step{o, true, v, true}
	}
	panic(fmt.Sprintf("daal: unknown effect kind %d", e.Kind))
}

// conditional effects need to know the value; the others are blind.
func (e *Effect) conditional() bool { return e.Kind == CondWrite || e.Kind == Update }

// valueChanges are the changes that store a value (or the lack of one: a tombstone).
func valueChanges(v Value, found bool) []backends.Change {
	do := make([]backends.Change, 0, 5)
	if !found {
		return append(do, backends.Change{Field: fValue}, backends.Change{Field: fType})
	}
	t := backends.Value{}
	if v.Type != "" {
		t = backends.String(v.Type)
	}
	data := v.Data
	if data == nil {
		data = []byte{}
	}
	return append(do, backends.Change{Field: fValue, Set: backends.Bytes(data)}, backends.Change{Field: fType, Set: t})
}

// ---- log entries

const (
	entApplied = 1 << iota
	entValue
	entFailed
)

func encodeEntry(digest uint64, o Outcome) backends.Value {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(o.Value.Data)), digest)
	flags := byte(0)
	tail := []byte(nil)
	if o.Applied {
		flags |= entApplied
	}
	switch {
	case o.Failed != "":
		flags |= entFailed
		tail = []byte(o.Failed)
	case o.HasValue:
		flags |= entValue
		tail = o.Value.Data
	}
	return backends.Bytes(append(append(b, flags), tail...))
}

// decodeEntry returns the logged outcome of e, or *OtherOperation.
func decodeEntry(e *Effect, v backends.Value) (Outcome, error) {
	b := v.Bytes
	if len(b) < 9 {
		return Outcome{}, fmt.Errorf("daal: log entry %s of %s is damaged", e.ID, e.At)
	}
	if binary.BigEndian.Uint64(b) != e.Digest {
		return Outcome{}, &OtherOperation{e.ID}
	}
	o := Outcome{Repeated: true, Applied: b[8]&entApplied != 0}
	switch {
	case b[8]&entFailed != 0:
		o.Failed = string(b[9:])
	case b[8]&entValue != 0:
		o.Value, o.HasValue = Value{Data: b[9:]}, true
	}
	return o, nil
}

// ---- reading

// Read returns the committed value. One store call, but where a cell of several rows has rolled over since (D1).
func (c *Cells) Read(ctx context.Context, a Address) (v Value, found bool, err error) {
	var h head
	if c.layout == LayoutRows {
		var t tail
		if t, err = c.findTail(ctx, a); err == nil {
			h = headOf(t.row)
		}
	} else {
		h, err = c.load(ctx, a)
	}
	if err != nil {
		return Value{}, false, fmt.Errorf("daal: read %s: %w", a, err)
	}
	return h.value, h.found, nil
}

// load reads a head row (bare, entries) and caches it.
func (c *Cells) load(ctx context.Context, a Address) (head, error) {
	r, err := c.store.Get(ctx, backends.Key{Kind: backends.KindCell, Part: Part(a)})
	if err != nil {
		return head{}, err
	}
	h := headOf(r)
	c.cache.put(a, cached{head: h})
	return h, nil
}

// Listed is one cell of a listing.
type Listed struct {
	Address Address
	Value   Value
}

const listPage = 512

// List returns up to limit cells of a table whose keys begin with prefix and come after `after`, in byte order, tombstones left
// out. next is the key to go on after, "" at the end. It is an observation, no snapshot. With table "" it lists all tables of the
// service.
func (c *Cells) List(ctx context.Context, service, table, prefix, after string, limit int, values bool) (list []Listed, next string, err error) {
	r := backends.Range{Kind: backends.KindCell, Limit: min(limit+1, listPage)}
	r.Part = backends.TuplePrefix(prefix, service, table)
	if after != "" {
		r.After = backends.Key{Kind: backends.KindCell, Part: backends.Tuple(service, table, after), Sort: sortEnd}
	}
	return c.list(ctx, r, limit, values)
}

// ListService lists all cells of a service, in order of (table, key), after the address `after` (the zero Address: from the start).
func (c *Cells) ListService(ctx context.Context, service string, after Address, limit int) ([]Listed, error) {
	r := backends.Range{Kind: backends.KindCell, Limit: min(limit+1, listPage), Part: backends.Tuple(service)}
	if after.Table != "" {
		r.After = backends.Key{Kind: backends.KindCell, Part: Part(after), Sort: sortEnd}
	}
	list, _, err := c.list(ctx, r, limit, true)
	return list, err
}

// sortEnd comes after the Sort of every row of a cell.
const sortEnd = "\xff\xff\xff\xff\xff"

func (c *Cells) list(ctx context.Context, r backends.Range, limit int, values bool) (list []Listed, next string, err error) {
	var part string
	var row backends.Row // the row of `part` that holds its value, as far as seen: the last unfrozen head
	flush := func() error {
		if row == nil || row.Get(fValue).Absent() {
			return nil
		}
		parts, err := backends.ParseTuple(part)
		if err != nil || len(parts) != 3 {
			return fmt.Errorf("daal: key %q is no cell", part)
		}
		l := Listed{Address: Address{parts[0], parts[1], parts[2]}}
		if values {
			l.Value = headOf(row).value
		}
		list = append(list, l)
		return nil
	}
	for {
		page, err := c.store.Scan(ctx, r)
		if err != nil {
			return nil, "", fmt.Errorf("daal: list %q: %w", r.Part, err)
		}
		for _, e := range page {
			if e.Key.Part != part {
				if err := flush(); err != nil {
					return nil, "", err
				}
				if len(list) == limit {
					return list, list[limit-1].Address.Key, nil
				}
				part, row = e.Key.Part, nil
			}
			if c.layout == LayoutRows || e.Key.Sort == "" {
				row = e.Row // rows come in order: the last one is the tail
			}
		}
		if len(page) < r.Limit {
			err := flush() // it adds to list
			return list, "", err
		}
		r.After = page[len(page)-1].Key
	}
}
