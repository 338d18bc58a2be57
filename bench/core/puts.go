package main

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// puts is the bare store that the sidecar stands on, as a measure for what a disk can do.
type puts struct {
	db *pebble.DB
	n  int
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func openPuts(dir string) (*puts, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}})
	if err != nil {
		return nil, fmt.Errorf("open a bare store: %w", err)
	}
	return &puts{db: db}, nil
}

// ten puts, each synced before the next.
func (p *puts) ten() error {
	value := make([]byte, 100)
	for range 10 {
		p.n++
		if err := p.db.Set(fmt.Appendf(nil, "rows/%d", p.n), value, pebble.Sync); err != nil {
			return fmt.Errorf("put: %w", err)
		}
	}
	return nil
}

func (p *puts) close() error { return p.db.Close() }
