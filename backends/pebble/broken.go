package pebble

import (
	"errors"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// fail breaks the store; only the first call counts. It may be called from inside pebble, with locks of pebble held, so
// it calls nobody.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = fmt.Errorf("%w: %w", ErrBroken, err)
	close(s.broken)
	if s.onBroken != nil {
		go s.onBroken(s.cause)
	}
}

// brokenErr is ErrBroken with its cause, or nil.
func (s *Store) brokenErr() error {
	select {
	case <-s.broken:
		return s.cause // was set before the channel was closed, and never after
	default:
		return nil
	}
}

// events tells us of pebble's troubles that are not failed writes (see disk).
func (s *Store) events() *pebbledb.EventListener {
	return &pebbledb.EventListener{
		BackgroundError: s.fail,
		DataCorruption:  func(i pebbledb.DataCorruptionInfo) { s.fail(errors.New(i.String())) },
	}
}

// logger takes pebble's log. Information is dropped: what matters comes by events.
type logger struct{ s *Store }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf is called when pebble does not know what it has, and counts on not getting control back.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if l.s.disk.guarded.Load() {
		l.s.fail(err)
		select {}
	}
	panic(fatalError{err})
}

// fatalError is how Fatalf leaves pebbledb.Open.
type fatalError struct{ error }

func openPebble(dir string, o *pebbledb.Options) (db *pebbledb.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			fatal, ok := p.(fatalError)
			if !ok {
				panic(p)
			}
			err = fatal.error
		}
	}()
	return pebbledb.Open(dir, o)
}
