package pebble

import (
	"context"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/beldi/beldi/backends"
)

// groupBytes is how large a group may grow before it is committed without those who still wait. It is well below half a
// memtable, from where on pebble would make a table of it at once.
const groupBytes = 1 << 20

// request is a batch that waits for the committer.
type request struct {
	batch  []backends.Update
	answer chan backends.Answer // has room for it, as the caller may have left
}

func newRequest() any { return &request{answer: make(chan backends.Answer, 1)} }

func (s *Store) Apply(ctx context.Context, batch []backends.Update) backends.Answer {
	if err := ctx.Err(); err != nil {
		return unknown(batch, err)
	}
	r := s.requests.Get().(*request)
	r.batch = batch
	if err := s.enqueue(r); err != nil {
		return unknown(batch, err)
	}
	select {
	case a := <-r.answer:
		r.batch = nil
		s.requests.Put(r)
		return a
	case <-ctx.Done(): // the committer still has r, so it does not go back to the pool
		return unknown(batch, ctx.Err())
	case <-s.broken: // the committer may be in an operation that does not return
		return unknown(batch, s.brokenErr())
	}
}

func unknown(batch []backends.Update, err error) backends.Answer {
	return backends.Answer{Err: fmt.Errorf("pebble: apply %d updates: %w", len(batch), err)}
}

func (s *Store) enqueue(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return errClosed
	}
	if s.cause != nil {
		return s.cause
	}
	s.queue = append(s.queue, r)
	s.work.Signal()
	return nil
}

// commitAll is the committer. It ends when the store is closed and nobody waits.
func (s *Store) commitAll() {
	defer close(s.committed)
	var waiting []*request
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closing.Load() {
			s.work.Wait()
		}
		waiting, s.queue = s.queue, waiting[:0]
		s.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		for rest := waiting; len(rest) > 0; {
			rest = rest[s.commitGroup(rest):]
		}
		clear(waiting)
	}
}

// commitGroup commits a group of those who wait, from the first on, answers them, and returns how many they are.
func (s *Store) commitGroup(waiting []*request) int {
	g := newGroup(s)
	answers := make([]backends.Answer, 0, len(waiting))
	full := s.space.check()
	for _, r := range waiting {
		if g.bytes >= groupBytes {
			break
		}
		if full != nil && changes(r.batch) {
			answers = append(answers, unknown(r.batch, full))
			continue
		}
		answers = append(answers, g.judge(r.batch))
	}
	s.space.written += g.bytes
	g.closeIterator()
	err := s.brokenErr()
	if err == nil && g.dirty {
		err = s.write(g)
	}
	if err == nil {
		s.recent.put(g.rows) // before a read that waits for the group returns; a later read must not see less
	}
	s.inflight.Store(nil)
	close(g.done)
	for i, a := range answers {
		// After a failure no answer is sure: a refusal may rest on rows of the group, which a crash would take back.
		if err != nil {
			a = unknown(waiting[i].batch, err)
		}
		waiting[i].answer <- a
	}
	return len(answers)
}

// write makes the group's rows durable, or breaks the store.
func (s *Store) write(g *group) error {
	batch := s.db.NewBatch()
	err := g.fill(batch)
	if err == nil {
		s.inflight.Store(g) // before pebble shows the rows to readers
		err = s.sync(batch)
	}
	if err != nil {
		s.fail(fmt.Errorf("commit: %w", err))
		err = s.brokenErr()
	}
	return err
}

// sync commits the batch. (A failed write does not return, see disk; what is left are errors of ours.)
func (s *Store) sync(batch *pebbledb.Batch) error {
	// Apply with Sync would be the same, but for errors: it calls Fatalf.
	if err := s.db.ApplyNoSyncWait(batch, pebbledb.Sync); err != nil {
		return err
	}
	if err := batch.SyncWait(); err != nil {
		return err
	}
	return batch.Close()
}

// group is a run of batches that become durable together. Only the committer changes it, and nobody does once it is in
// Store.inflight.
type group struct {
	store *Store
	it    *pebbledb.Iterator // of pebble as it was before the group; made when it is first needed
	done  chan struct{}
	at    map[string]int // rows, by key
	rows  []groupRow     // each row that a batch looked at, once
	undo  []undoRow      // of the batch that is being judged
	bytes int
	dirty bool
}

type groupRow struct {
	key    string
	row    backends.Row
	loaded bool // row is pebble's, or a batch's; else nobody has had to look yet
	dirty  bool // differs from pebble's
}

type undoRow struct {
	at     int
	row    backends.Row
	loaded bool
	dirty  bool
}

func newGroup(s *Store) *group {
	return &group{store: s, done: make(chan struct{}), at: map[string]int{}}
}

// judge answers a batch, and keeps its changes if they apply (P1, B1).
func (g *group) judge(batch []backends.Update) backends.Answer {
	g.undo = g.undo[:0]
	for i := range batch {
		u := &batch[i]
		blind := len(u.When) == 0 && (u.Replace || u.Delete)
		at, err := g.find(u.Key, !blind)
		if err != nil {
			g.rollBack()
			return unknown(batch, fmt.Errorf("read %s: %w", u.Key, err))
		}
		r := &g.rows[at]
		if !u.Judge(r.row) {
			refused := backends.Answer{Outcome: backends.Refused, Index: i, Row: r.row}
			g.rollBack()
			return refused
		}
		if len(u.Do) == 0 && !u.Delete {
			continue
		}
		g.undo = append(g.undo, undoRow{at, r.row, r.loaded, r.dirty})
		r.row, r.loaded, r.dirty = backends.ApplyChanges(r.row, u), true, true
		g.bytes += rowSize(r.row)
	}
	g.dirty = g.dirty || len(g.undo) > 0
	return backends.Answer{Outcome: backends.Applied}
}

func (g *group) rollBack() {
	for i := len(g.undo) - 1; i >= 0; i-- {
		u := g.undo[i]
		r := &g.rows[u.at]
		r.row, r.loaded, r.dirty = u.row, u.loaded, u.dirty
	}
}

// find returns where the row is in g.rows. With look set it is read, if no batch of the group has looked at it.
func (g *group) find(k backends.Key, look bool) (int, error) {
	key := encodeKey(k)
	at, ok := g.at[string(key)]
	if !ok {
		at = len(g.rows)
		r := groupRow{key: string(key)}
		g.at[r.key] = at
		g.rows = append(g.rows, r)
	}
	r := &g.rows[at]
	if r.loaded || !look {
		return at, nil
	}
	if r.row, r.loaded = g.store.recent.get(key); r.loaded {
		return at, nil
	}
	var err error
	r.row, err = g.load(key)
	r.loaded = err == nil
	return at, err
}

// load reads a row from pebble. One iterator serves the group: to make one costs as much as several looks.
func (g *group) load(key []byte) (row backends.Row, err error) {
	if g.it == nil {
		if g.it, err = g.store.db.NewIter(&pointRead); err != nil {
			return nil, err
		}
	}
	if row, err = rowAt(g.it, key); err != nil {
		g.closeIterator()
	}
	return row, err
}

func (g *group) closeIterator() {
	if g.it != nil {
		_ = g.it.Close() // its error is that of a look, which has been answered
		g.it = nil
	}
}

// fill puts the rows that have changed into a batch; one that several batches changed, once.
func (g *group) fill(batch *pebbledb.Batch) error {
	var key, value []byte
	for _, r := range g.rows {
		if !r.dirty {
			continue
		}
		key = append(key[:0], r.key...)
		var err error
		if r.row.Exists() {
			value = appendRow(value[:0], r.row)
			err = batch.Set(key, value, nil)
		} else {
			err = batch.Delete(key, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *group) writes(key []byte) bool {
	at, ok := g.at[string(key)]
	return ok && g.rows[at].dirty
}

func (g *group) writesWithin(lo, hi []byte) bool {
	for _, r := range g.rows {
		if r.dirty && string(lo) <= r.key && r.key < string(hi) {
			return true
		}
	}
	return false
}
