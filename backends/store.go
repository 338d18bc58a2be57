// Package backends says what Beldi asks of a database: rows, conditional updates that are atomic within a scope,
// strong reads, and little more. Adapters live in sub-packages and pass storetest.
//
// Invariants that every adapter keeps, and storetest checks:
//
//	B1  Apply is atomic: all updates of a batch take effect, in order, each seeing those before it, or none does.
//	B2  An answer is Applied, Refused or Unknown. Refused is definite: nothing was changed, and nothing will be.
//	    Unknown (a time-out, a lost connection, a disk error) says neither; the batch may still be applied later.
//	B3  Refused names the first update whose condition failed, with its row as it was judged.
//	B4  Get, Query and Scan are strong: they show every batch that was answered Applied before they began, and nothing
//	    that a crash could take back.
//	B5  Applied batches survive what the store promises to survive (pebble: power loss, if fsync is on).
package backends

import (
	"context"
	"errors"
	"fmt"
)

// Kind is a kind of row; a store may keep a table for each.
type Kind uint8

const (
	KindCell     Kind = iota + 1 // values, and their logs
	KindInstance                 // instance rows and journals
	KindOpen                     // index of instances that are not done
	KindFence                    // shard and registry fences
	KindFunction                 // functions that have announced themselves
	KindSidecar                  // liveness of sidecars
)

func (k Kind) String() string {
	names := [...]string{"?", "cell", "instance", "open", "fence", "function", "sidecar"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", k)
}

// Kinds lists all kinds, for adapters that make a table for each.
var Kinds = []Kind{KindCell, KindInstance, KindOpen, KindFence, KindFunction, KindSidecar}

// Key names a row. Part and Sort are arbitrary bytes (see Tuple); rows of one Part are ordered by Sort.
type Key struct {
	Kind Kind
	Part string
	Sort string
}

func (k Key) String() string { return fmt.Sprintf("%s[%q %q]", k.Kind, k.Part, k.Sort) }

// Value is a field's value: an integer or bytes. The zero Value is "no value": the field is absent.
type Value struct {
	kind  valueKind
	Int   int64
	Bytes []byte
}

type valueKind uint8

const (
	absent valueKind = iota
	isInt
	isBytes
)

// Int makes an integer value.
func Int(n int64) Value { return Value{kind: isInt, Int: n} }

// Bytes makes a bytes value. It keeps b; nobody may change it afterwards.
func Bytes(b []byte) Value { return Value{kind: isBytes, Bytes: b} }

// String makes a bytes value of s.
func String(s string) Value { return Value{kind: isBytes, Bytes: []byte(s)} }

func (v Value) Absent() bool  { return v.kind == absent }
func (v Value) IsInt() bool   { return v.kind == isInt }
func (v Value) IsBytes() bool { return v.kind == isBytes }

// Equal: same kind, same content. Two absent values are equal.
func (v Value) Equal(w Value) bool {
	return v.kind == w.kind && v.Int == w.Int && string(v.Bytes) == string(w.Bytes)
}

// Field is a named value. Names are short and of the core's making; those that begin with '#' are log entries.
type Field struct {
	Name  string
	Value Value
}

// Row is a row's fields, sorted by name, each name once. A nil Row does not exist; an existing row without fields is Row{}.
// Rows are shared: nobody changes one.
type Row []Field

// Exists tells a row from none.
func (r Row) Exists() bool { return r != nil }

// Get returns the field's value, or the absent value.
func (r Row) Get(name string) Value {
	for i := range r {
		if r[i].Name == name {
			return r[i].Value
		}
	}
	return Value{}
}

// Int returns an integer field, 0 if absent.
func (r Row) Int(name string) int64 { return r.Get(name).Int }

// Bytes returns a bytes field, nil if absent.
func (r Row) Bytes(name string) []byte { return r.Get(name).Bytes }

// Text returns a bytes field as a string.
func (r Row) Text(name string) string { return string(r.Get(name).Bytes) }

// Test is how a Cond judges.
type Test uint8

const (
	Exists   Test = iota + 1 // the row exists
	Missing                  // the row does not exist
	Absent                   // the field is absent (also if the row is)
	Equal                    // the field equals Value (an absent Value: the field is absent)
	AtMost                   // the field is an integer ≤ Value.Int; an absent field counts as 0
	LessThan                 // the field is an integer < Value.Int; an absent field counts as 0
)

// Cond is one condition on a row.
type Cond struct {
	Test  Test
	Field string
	Value Value
}

// Holds judges a condition.
func (c Cond) Holds(r Row) bool {
	switch c.Test {
	case Exists:
		return r.Exists()
	case Missing:
		return !r.Exists()
	case Absent:
		return r.Get(c.Field).Absent()
	case Equal:
		return r.Get(c.Field).Equal(c.Value)
	case AtMost:
		return r.Int(c.Field) <= c.Value.Int
	case LessThan:
		return r.Int(c.Field) < c.Value.Int
	}
	panic(fmt.Sprintf("backends: unknown test %d", c.Test))
}

// Change is one change to a row.
type Change struct {
	Field string
	// Set is the field's new value; an absent value removes the field.
	Set Value
	// Add, if not 0, is added to the integer field instead (absent counts as 0).
	Add int64
}

// Update changes one row if all conditions hold. It makes the row if it does not exist: ask for Exists where that is wrong (D2).
// An update without changes only checks its conditions.
type Update struct {
	Key    Key
	When   []Cond
	Do     []Change
	Delete bool // the row goes; Do is empty
	// Replace: Do is all that the row holds afterwards. Without conditions, the store need not look at the row.
	Replace bool
}

// Judge returns whether all conditions hold.
func (u *Update) Judge(r Row) bool {
	for i := range u.When {
		if !u.When[i].Holds(r) {
			return false
		}
	}
	return true
}

// Outcome is one of the three outcomes of a store call.
type Outcome uint8

const (
	// Unknown is the zero value on purpose: an answer that nobody filled in says nothing.
	Unknown Outcome = iota
	Applied
	Refused
)

func (o Outcome) String() string { return [...]string{"unknown", "applied", "refused"}[o] }

// Answer is what Apply returns.
type Answer struct {
	Outcome Outcome
	Index   int   // Refused: which update
	Row     Row   // Refused: its row as it was judged
	Err     error // Unknown: why
}

// Scope is how far atomicity reaches.
type Scope uint8

const (
	ScopeRow       Scope = iota + 1 // one row (DynamoDB); several rows by a transaction of at most MaxTransaction rows
	ScopePartition                  // rows of one Kind and Part (Cassandra)
	ScopeStore                      // everything (embedded stores)
)

func (s Scope) String() string { return [...]string{"?", "row", "partition", "store"}[s] }

// Capabilities says what a store can do.
type Capabilities struct {
	Name  string // "pebble", for people
	Scope Scope
	// MaxTransaction is how many rows a batch may touch beyond the scope: 0 none (ScopePartition), 100 (DynamoDB). Not used under ScopeStore.
	MaxTransaction int
	// MaxRow is the largest row in bytes, 0 for no limit.
	MaxRow int
	// Exclusive: one process owns the store, so every instance that was open when it started has lost its sidecar.
	Exclusive bool
}

// Fits returns whether a batch can be applied atomically.
func (c Capabilities) Fits(batch []Update) bool {
	if c.Scope == ScopeStore || len(batch) <= 1 {
		return true
	}
	if c.Scope == ScopePartition {
		same := true
		for i := range batch {
			same = same && batch[i].Key.Kind == batch[0].Key.Kind && batch[i].Key.Part == batch[0].Key.Part
		}
		if same {
			return true
		}
	}
	if len(batch) > c.MaxTransaction {
		return false
	}
	seen := map[Key]bool{}
	for i := range batch { // a transaction may not name a row twice
		if seen[batch[i].Key] {
			return false
		}
		seen[batch[i].Key] = true
	}
	return true
}

// Entry is a row with its key.
type Entry struct {
	Key Key
	Row Row
}

// Range selects rows of a kind. Page through it with After.
type Range struct {
	Kind   Kind
	Part   string // Query: the partition. Scan: a prefix of Part.
	Prefix string // Query: a prefix of Sort
	After  Key    // only what comes after this key; the zero Key for the first page
	Limit  int    // at most so many entries; must be positive
	Fields []string
	// Fields, if not nil, projects: only these fields are returned.
	Descending bool // Query only: by Sort, downwards
}

// ErrTooWide is a batch that the store cannot apply atomically: the core's mistake.
var ErrTooWide = errors.New("backends: batch is wider than the store's atomicity")

// ErrFull is wrapped by the error of an Unknown answer if the store has no room for the batch. Room may be made while the
// store runs; the same batch then goes through.
var ErrFull = errors.New("the store is full")

// Store is a database. All methods may be called at any time from any goroutine.
type Store interface {
	Capabilities() Capabilities
	// Get reads one row; a nil Row means that it does not exist.
	Get(ctx context.Context, k Key) (Row, error)
	// Apply applies a batch that fits (Capabilities.Fits), atomically: B1, B2, B3.
	Apply(ctx context.Context, batch []Update) Answer
	// Query returns a page of one partition, ordered by Sort. Fewer than Limit entries mean the end.
	Query(ctx context.Context, r Range) ([]Entry, error)
	// Scan returns a page of all partitions whose Part begins with r.Part, ordered by (Part, Sort). Not for hot paths.
	Scan(ctx context.Context, r Range) ([]Entry, error)
	Close() error
}

// ApplyChanges returns the row that u makes of r: the one implementation for adapters that compute rows themselves.
func ApplyChanges(r Row, u *Update) Row {
	if u.Delete {
		return nil
	}
	if len(u.Do) == 0 {
		return r
	}
	if u.Replace {
		r = nil
	}
	out := make(Row, len(r), len(r)+len(u.Do))
	copy(out, r)
	for i := range u.Do {
		c := &u.Do[i]
		at, found := 0, false
		for at < len(out) && out[at].Name < c.Field {
			at++
		}
		found = at < len(out) && out[at].Name == c.Field
		v := c.Set
		if c.Add != 0 {
			v = Int(c.Add)
			if found {
				v = Int(out[at].Value.Int + c.Add)
			}
		}
		switch {
		case v.Absent() && found:
			out = append(out[:at], out[at+1:]...)
		case v.Absent():
		case found:
			out[at].Value = v
		default:
			out = append(out, Field{})
			copy(out[at+1:], out[at:])
			out[at] = Field{Name: c.Field, Value: v}
		}
	}
	return out
}
