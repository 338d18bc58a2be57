// Package memory keeps a store in the process's memory, for tests and for trials: nothing survives the process.
package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/btree"

	"github.com/beldi/beldi/backends"
)

// Options narrow what the store claims to do, so that tests can run on it what is meant for a lesser store. The zero
// value is the whole: atomic batches of any size, one process.
type Options struct {
	Scope          backends.Scope // zero: ScopeStore
	MaxTransaction int            // rows; as in backends.Capabilities
	MaxRow         int            // bytes of a row's names and values; 0: no limit
	Shared         bool           // several sidecars may use the store at once: it is not Exclusive
}

// Store is an ordered map under one mutex. It starts no goroutine and reads no clock, so simulations own its order.
type Store struct {
	caps backends.Capabilities

	mu     sync.RWMutex
	rows   *btree.BTreeG[backends.Entry]
	closed bool
}

// degree of the B-tree: small nodes suit the few rows of a test.
const degree = 16

// New makes an empty store.
func New(o Options) *Store {
	caps := backends.Capabilities{
		Name:           "memory",
		Scope:          o.Scope,
		MaxTransaction: o.MaxTransaction,
		MaxRow:         o.MaxRow,
		Exclusive:      !o.Shared,
	}
	if caps.Scope == 0 {
		caps.Scope = backends.ScopeStore
	}
	return &Store{caps: caps, rows: btree.NewG(degree, less)}
}

func less(a, b backends.Entry) bool { return compare(a.Key, b.Key) < 0 }

func compare(a, b backends.Key) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	if c := strings.Compare(a.Part, b.Part); c != 0 {
		return c
	}
	return strings.Compare(a.Sort, b.Sort)
}

func (s *Store) Capabilities() backends.Capabilities { return s.caps }

// ready says why the store cannot be used now. Its caller holds mu.
func (s *Store) ready(ctx context.Context) error {
	if s.closed {
		return errClosed
	}
	return ctx.Err()
}

var errClosed = errors.New("the store is closed")

func (s *Store) row(k backends.Key) backends.Row {
	e, _ := s.rows.Get(backends.Entry{Key: k})
	return e.Row
}

func (s *Store) Get(ctx context.Context, k backends.Key) (backends.Row, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("memory: get %s: %w", k, err)
	}
	return s.row(k), nil
}

func (s *Store) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return unknown(batch, err)
	}
	if !s.caps.Fits(batch) {
		return unknown(batch, backends.ErrTooWide)
	}
	// Changes are made in place, as a later update of the batch must see them, and taken back if one is refused.
	before := make([]backends.Entry, 0, len(batch))
	undo := func() {
		for i := len(before) - 1; i >= 0; i-- {
			s.put(before[i])
		}
	}
	for i := range batch {
		u := &batch[i]
		row := s.row(u.Key)
		if !u.Judge(row) {
			undo()
			return backends.Answer{Outcome: backends.Refused, Index: i, Row: row}
		}
		next := backends.ApplyChanges(row, u)
		if n := size(next); s.caps.MaxRow > 0 && n > s.caps.MaxRow {
			undo()
			return unknown(batch, fmt.Errorf("%s would have %d bytes, more than %d", u.Key, n, s.caps.MaxRow))
		}
		before = append(before, backends.Entry{Key: u.Key, Row: row})
		s.put(backends.Entry{Key: u.Key, Row: next})
	}
	return backends.Answer{Outcome: backends.Applied}
}

func (s *Store) put(e backends.Entry) {
	if e.Row.Exists() {
		s.rows.ReplaceOrInsert(e)
	} else {
		s.rows.Delete(e)
	}
}

func unknown(batch []backends.Update, err error) backends.Answer {
	return backends.Answer{Err: fmt.Errorf("memory: apply %d updates: %w", len(batch), err)}
}

func size(r backends.Row) int {
	n := 0
	for _, f := range r {
		n += len(f.Name) + len(f.Value.Bytes)
		if f.Value.IsInt() {
			n += 8
		}
	}
	return n
}

func (s *Store) Query(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	first := backends.Key{Kind: r.Kind, Part: r.Part, Sort: r.Prefix}
	// Only keys of the part lie between the part and the part with a NUL behind it.
	end := backends.Key{Kind: r.Kind, Part: r.Part + "\x00"}
	if next, ok := successor(r.Prefix); ok {
		end = backends.Key{Kind: r.Kind, Part: r.Part, Sort: next}
	}
	return s.page(ctx, "query", r, first, end)
}

func (s *Store) Scan(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	if r.Descending {
		return nil, fmt.Errorf("memory: scan %s %q: a scan has no descending order", r.Kind, r.Part)
	}
	end := backends.Key{Kind: r.Kind + 1}
	if next, ok := successor(r.Part); ok {
		end = backends.Key{Kind: r.Kind, Part: next}
	}
	return s.page(ctx, "scan", r, backends.Key{Kind: r.Kind, Part: r.Part}, end)
}

// successor is the least string above all that begin with prefix; there is none if prefix is all 0xFF.
func successor(prefix string) (string, bool) {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xFF {
			return prefix[:i] + string([]byte{prefix[i] + 1}), true
		}
	}
	return "", false
}

// page collects the entries from first, and below end, that r asks for.
func (s *Store) page(ctx context.Context, verb string, r backends.Range, first, end backends.Key) ([]backends.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err := s.ready(ctx)
	if err == nil && r.Limit <= 0 {
		err = fmt.Errorf("the limit is %d, not positive", r.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("memory: %s %s %q: %w", verb, r.Kind, r.Part, err)
	}
	var out []backends.Entry
	collect := func(e backends.Entry) bool {
		if e.Key == r.After || e.Key == end { // a walk may start at either, and neither belongs to it
			return true
		}
		if compare(e.Key, first) < 0 || compare(e.Key, end) > 0 {
			return false
		}
		out = append(out, backends.Entry{Key: e.Key, Row: project(e.Row, r.Fields)})
		return len(out) < r.Limit
	}
	paged := r.After != backends.Key{}
	switch {
	case r.Descending && paged && compare(r.After, end) < 0:
		s.rows.DescendLessOrEqual(backends.Entry{Key: r.After}, collect)
	case r.Descending:
		s.rows.DescendLessOrEqual(backends.Entry{Key: end}, collect)
	case paged && compare(r.After, first) > 0:
		s.rows.AscendGreaterOrEqual(backends.Entry{Key: r.After}, collect)
	default:
		s.rows.AscendGreaterOrEqual(backends.Entry{Key: first}, collect)
	}
	return out, nil
}

// project keeps the named fields; nil keeps all.
func project(r backends.Row, fields []string) backends.Row {
	if fields == nil {
		return r
	}
	out := backends.Row{}
	for _, f := range r {
		if slices.Contains(fields, f.Name) {
			out = append(out, f)
		}
	}
	return out
}

// Close empties the store; it refuses all later calls.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.rows.Clear(false)
	return nil
}
