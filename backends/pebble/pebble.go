// Package pebble keeps a store in a directory of this machine, by github.com/cockroachdb/pebble. One process uses the
// directory at a time (Exclusive); batches of any size are atomic.
//
// All writes go through one goroutine, the committer (commit.go). It takes what batches are waiting, judges one after
// another, and writes all that they change with one sync. Two rules follow from it:
//
//	P1  Batches are judged in one order, each against the rows as those before it left them; so there are no row locks.
//	P2  A group's rows are in pebble before they are on disk. A read that meets one waits until the group's sync is over
//	    (B4). There is only one such group at a time.
//
// After a failed write or sync nobody knows what the disk holds, and a later sync that succeeds proves nothing: the
// kernel may have dropped the pages. So the first failure breaks the Store for good (ErrBroken): it answers nothing any
// more, and leaves pebble where it stands, with its goroutines and its lock on the directory, until the process ends,
// which Options.OnBroken should see to. The next process recovers what is there.
//
// A disk that fills up is no such failure: batches are refused before it is full (Options.Reserve), and go on by
// themselves when there is room again.
package pebble

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beldi/beldi/backends"
)

// Options says where a store is, and how. Only Dir is needed.
type Options struct {
	Dir string // made if it does not exist
	// NoFsync saves the syncs: batches then survive the death of the process, but not of the machine.
	NoFsync bool
	// CacheBytes is how much of the tables is kept in memory uncompressed; 0 means 8 MiB.
	CacheBytes int64
	// Reserve is how many bytes of Dir's file system the store leaves free. While fewer are, batches that change something
	// are answered Unknown with backends.ErrFull, and reads go on. 0 means 64 MiB, or a quarter of a file system below 256 MiB.
	Reserve int64
	// FS, if not nil, is used instead of the machine's file system.
	FS vfs.FS
	// OnBroken, if not nil, is called once if the store breaks, on a goroutine of its own. It should end the process.
	// The error wraps ErrBroken and the cause.
	OnBroken func(error)
}

const defaultCacheBytes = 8 << 20

// Memory for rows that are not in tables yet is bounded by memTables*memTableBytes. Larger tables would save some
// compaction, but a sidecar is to stay small beside the function that it serves.
const (
	memTableBytes = 4 << 20
	memTables     = 4
)

var (
	// ErrBroken: a write or a sync failed before. The store answers nothing any more.
	ErrBroken = errors.New("the store is broken")
	errClosed = errors.New("the store is closed")
)

// Store is a backends.Store in a directory.
type Store struct {
	dir      string
	db       *pebbledb.DB
	disk     *disk
	space    space
	lock     *pebbledb.Lock
	onBroken func(error)
	close    func() error

	// gate is held for reading by who reads from db, so that Close can wait for them.
	gate sync.RWMutex

	recent    recent
	inflight  atomic.Pointer[group] // the group that is in pebble, and maybe not on disk
	requests  sync.Pool             // of *request
	committed chan struct{}         // closed when the committer has ended
	broken    chan struct{}         // closed when cause was set

	mu      sync.Mutex
	work    sync.Cond // queue or closing has changed
	queue   []*request
	closing atomic.Bool // set with mu held
	cause   error       // why the store is broken
}

// Open opens the store in o.Dir. The error wraps ErrLocked or ErrNewer where they apply.
func Open(o Options) (*Store, error) {
	s := &Store{
		dir:       o.Dir,
		onBroken:  o.OnBroken,
		committed: make(chan struct{}),
		broken:    make(chan struct{}),
	}
	s.work.L = &s.mu
	s.requests.New = newRequest
	s.close = sync.OnceValue(s.shut)
	fail := func(err error) (*Store, error) { return nil, fmt.Errorf("pebble: open %s: %w", o.Dir, err) }

	if o.Dir == "" {
		return fail(errors.New("no directory is named"))
	}
	if o.CacheBytes < 0 {
		return fail(fmt.Errorf("the cache would have %d bytes, and cannot have less than 0", o.CacheBytes))
	}
	if o.Reserve < 0 {
		return fail(fmt.Errorf("the reserve would have %d bytes, and cannot have less than 0", o.Reserve))
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	s.disk = &disk{FS: o.FS, noSync: o.NoFsync, fail: s.fail}
	s.space = space{disk: s.disk, dir: o.Dir, reserve: o.Reserve}
	var err error
	if s.lock, err = lockDir(s.disk, o.Dir); err != nil {
		return fail(err)
	}
	if s.db, err = openPebble(o.Dir, s.pebbleOptions(o)); err != nil {
		return fail(errors.Join(err, s.lock.Close()))
	}
	s.disk.guarded.Store(true)
	go s.commitAll()
	return s, nil
}

func (s *Store) pebbleOptions(o Options) *pebbledb.Options {
	p := &pebbledb.Options{
		FS:                          s.disk,
		Lock:                        s.lock,
		CacheSize:                   o.CacheBytes + memTables*memTableBytes, // pebble takes memtables out of the cache's size
		FormatMajorVersion:          pebbledb.FormatColumnarBlocks,          // pinned, so that a newer pebble does not raise it unasked
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: memTables,
		Logger:                      logger{s},
		EventListener:               s.events(),
	}
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return p
}

func (s *Store) Capabilities() backends.Capabilities {
	return backends.Capabilities{Name: "pebble", Scope: backends.ScopeStore, Exclusive: true}
}

func (s *Store) Get(ctx context.Context, k backends.Key) (backends.Row, error) {
	key := encodeKey(k)
	row, err := s.read(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("pebble: get %s: %w", k, err)
	}
	return row, nil
}

func (s *Store) read(ctx context.Context, key []byte) (backends.Row, error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if row, ok := s.recent.get(key); ok {
		return row, nil
	}
	it, err := s.db.NewIter(&pointRead)
	if err != nil {
		return nil, err
	}
	row, err := rowAt(it, key)
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, err
	}
	return row, s.settled(ctx, func(g *group) bool { return g.writes(key) })
}

// pointRead is how single rows are read. DB.Get would be the obvious way, but it leaves out the Bloom filters of the
// last level, where nearly all rows are: to learn that a row does not exist would cost a table lookup.
var pointRead = pebbledb.IterOptions{UseL6Filters: true}

// rowAt reads a row as pebble has it in the iterator's view, on disk or not.
func rowAt(it *pebbledb.Iterator, key []byte) (backends.Row, error) {
	if !it.SeekPrefixGE(key) { // the whole key is the prefix
		return nil, it.Error()
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return nil, err
	}
	return decodeRow(value)
}

// settled waits until what was read from pebble is on disk (P2). It must be called after the read, or a group could come
// between. meets says whether the read can have seen the group.
func (s *Store) settled(ctx context.Context, meets func(*group) bool) error {
	if g := s.inflight.Load(); g != nil && meets(g) {
		select {
		case <-g.done:
		case <-s.broken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.brokenErr() // not before inflight was loaded: a group that fails breaks the store, then leaves inflight
}

func (s *Store) Query(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	lo, hi := queryBounds(r)
	return s.page(ctx, "query", r, lo, hi)
}

func (s *Store) Scan(ctx context.Context, r backends.Range) ([]backends.Entry, error) {
	if r.Descending {
		return nil, fmt.Errorf("pebble: scan %s %q: a scan has no descending order", r.Kind, r.Part)
	}
	lo, hi := scanBounds(r)
	return s.page(ctx, "scan", r, lo, hi)
}

func (s *Store) page(ctx context.Context, verb string, r backends.Range, lo, hi []byte) ([]backends.Entry, error) {
	entries, err := s.readPage(ctx, r, lo, hi)
	if err != nil {
		return nil, fmt.Errorf("pebble: %s %s %q: %w", verb, r.Kind, r.Part, err)
	}
	return entries, nil
}

func (s *Store) readPage(ctx context.Context, r backends.Range, lo, hi []byte) (out []backends.Entry, err error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if r.Limit <= 0 {
		return nil, fmt.Errorf("the limit is %d, not positive", r.Limit)
	}
	it, err := s.db.NewIter(&pebbledb.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	// The iterator sees what was in pebble when it was made, and no later group.
	if err := s.settled(ctx, func(g *group) bool { return g.writesWithin(lo, hi) }); err != nil {
		return nil, err
	}
	start, next := it.First, it.Next
	if r.Descending {
		start, next = it.Last, it.Prev
	}
	for ok := start(); ok && len(out) < r.Limit; ok = next() {
		e, err := entry(it, r.Fields)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, it.Error()
}

func entry(it *pebbledb.Iterator, fields []string) (backends.Entry, error) {
	key, err := decodeKey(it.Key())
	if err != nil {
		return backends.Entry{}, err
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return backends.Entry{}, err
	}
	row, err := decodeRow(value)
	if err != nil {
		return backends.Entry{}, fmt.Errorf("row %s: %w", key, err)
	}
	if fields != nil {
		row = slices.DeleteFunc(row, func(f backends.Field) bool { return !slices.Contains(fields, f.Name) })
	}
	return backends.Entry{Key: key, Row: row}, nil
}

// usable says why the store cannot be used now. The caller holds gate.
func (s *Store) usable(ctx context.Context) error {
	if s.closing.Load() {
		return errClosed
	}
	if err := s.brokenErr(); err != nil {
		return err
	}
	return ctx.Err()
}

// Close commits what is waiting, and gives the directory free. If the store is broken, it does neither, and says so.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.mu.Lock()
	s.closing.Store(true)
	s.work.Signal()
	s.mu.Unlock()
	closed := make(chan error, 1)
	go func() {
		<-s.committed
		if s.brokenErr() != nil {
			return
		}
		s.gate.Lock()
		defer s.gate.Unlock()
		closed <- errors.Join(s.db.Close(), s.lock.Close())
	}()
	var err error
	select {
	case err = <-closed:
	case <-s.broken: // of the goroutines that closed waits for, one may be in an operation that does not return
		err = s.brokenErr()
	}
	if err != nil {
		return fmt.Errorf("pebble: close %s: %w", s.dir, err)
	}
	return nil
}
