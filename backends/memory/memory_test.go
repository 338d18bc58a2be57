package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/backends/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	for name, o := range map[string]memory.Options{
		"Store":       {},
		"Partition":   {Scope: backends.ScopePartition},
		"Row":         {Scope: backends.ScopeRow, MaxTransaction: 100},
		"RowNoTxn":    {Scope: backends.ScopeRow},
		"LimitedRows": {MaxRow: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) backends.Store { return memory.New(o) })
		})
	}
}

func TestMaxRow(t *testing.T) {
	s := memory.New(memory.Options{MaxRow: 10})
	a := s.Apply(t.Context(), []backends.Update{{Do: []backends.Change{{Field: "v", Set: backends.String("0123456789")}}}})
	if a.Outcome != backends.Unknown || a.Err == nil {
		t.Errorf("a row of 11 bytes where 10 are allowed: %s, %v", a.Outcome, a.Err)
	}
	if row, err := s.Get(t.Context(), backends.Key{}); row.Exists() || err != nil {
		t.Errorf("it left %v, %v", row, err)
	}
}
