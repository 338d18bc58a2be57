package calls

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a step may ask of the store is a promise: it decides what a step costs on a store that bills by the request.
func TestCosts(t *testing.T) {
	costs, err := Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range costs {
		t.Logf("%-70s %3d", c.What, c.Calls)
		if c.Calls > c.AtMost {
			t.Errorf("%s: %d calls of the store, want at most %d", c.What, c.Calls, c.AtMost)
		}
	}
}
