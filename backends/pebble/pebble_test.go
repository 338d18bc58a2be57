package pebble_test

import (
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/backends/storetest"
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(childEnv); role {
	case "":
		goleak.VerifyTestMain(m)
	case "test":
		os.Exit(m.Run())
	default:
		child(role, os.Args[1])
	}
}

func open(t *testing.T, o pebble.Options) *pebble.Store {
	t.Helper()
	s, err := pebble.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	for name, o := range map[string]pebble.Options{
		"Memory":  {FS: vfs.NewMem()},
		"Disk":    {},
		"NoFsync": {NoFsync: true},
		"Slow":    {FS: slow(vfs.NewMem())},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t,
				func(t *testing.T) backends.Store {
					o.Dir = t.TempDir()
					return open(t, o)
				},
				storetest.Reopen(func(t *testing.T, s backends.Store) backends.Store {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					return open(t, o) // in the directory that was opened last
				}))
		})
	}
}
