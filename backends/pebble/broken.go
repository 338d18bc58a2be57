package pebble

import "fmt"

// fail breaks the store; only the first call counts. Pebble calls it with locks of its own held, so it calls nobody.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = fmt.Errorf("%w: %w", ErrBroken, err)
	close(s.broken)
	if s.stalled {
		s.abandon()
	}
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

// stall notes that pebble makes the committer wait for a flush. In a broken store no flush may ever come.
func (s *Store) stall(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stalled = on; on && s.cause != nil {
		s.abandon()
	}
}

// abandon lets Close return without pebble, which holds a lock and will not give it back. The caller holds mu.
func (s *Store) abandon() {
	select {
	case <-s.stuck:
	default:
		close(s.stuck)
	}
}

// logger takes pebble's log. Information is dropped: what matters comes by events.
type logger struct{ s *Store }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf is called when pebble cannot tell what its files hold. It counts on not getting control back: the goroutine
// stays here, so that no file is touched again, and OnBroken ends the process.
func (l logger) Fatalf(format string, args ...any) {
	l.s.fail(fmt.Errorf(format, args...))
	l.s.mu.Lock()
	l.s.abandon()
	l.s.mu.Unlock()
	select {}
}
