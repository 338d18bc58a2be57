// Package micro has benchmarks of the core inside one process: what a step costs without sockets and encodings.
package micro

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/callback"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// hot is a worker that answers an attempt by an update of the one cell that all share.
type hot struct{ inline }

func (hot) Run(a *intent.Attempt) {
	a.Quiet = true
	a.Submit([]intent.StepRequest{
		{Step: "1", Op: intent.Op{Kind: intent.OpUpdate, Table: "t", Key: "hot", Expr: "found ? value + 1 : 1"}},
		{Op: intent.Op{Kind: intent.OpComplete, Value: daal.JSON("true")}},
	})
}

// inline is a worker that answers an attempt by n writes and its completion, in one message.
type inline struct{ writes int }

func (w inline) Run(a *intent.Attempt) {
	a.Quiet = true
	steps := make([]intent.StepRequest, 0, w.writes+1)
	for n := range w.writes {
		steps = append(steps, intent.StepRequest{Step: daal.Step(fmt.Sprint(n + 1)), Op: intent.Op{
			Kind: intent.OpWrite, Table: "t", Key: fmt.Sprint(a.Instance, n), Value: daal.JSON("42")}})
	}
	a.Submit(append(steps, intent.StepRequest{Op: intent.Op{Kind: intent.OpComplete, Value: daal.JSON("true")}}))
}
func (inline) Answer(*intent.Attempt, daal.Step, intent.Outcome) {}
func (inline) Cancel(*intent.Attempt, error)                     {}

func benchmark(b *testing.B, store backends.Store, w intent.Worker, clients int) {
	defer store.Close()
	local := &callback.Local{}
	rt, err := intent.New(store, intent.Options{Invoker: local})
	if err != nil {
		b.Fatal(err)
	}
	defer rt.Close()
	local.Bind(rt)
	if _, err := rt.Attach("s", []string{"f"}, 0, w); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	b.SetParallelism(max(1, clients/2))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := daal.InstanceID(fmt.Sprint("i", n.Add(1)))
			if _, err := rt.Invoke(context.Background(), intent.Request{ID: id, Fresh: true, Function: intent.Function{Service: "s", Name: "f"}, Input: daal.JSON("1")}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkInstance(b *testing.B) {
	for _, writes := range []int{1, 10} {
		for _, clients := range []int{2, 64} {
			b.Run(fmt.Sprintf("memory/writes=%d/clients=%d", writes, clients), func(b *testing.B) {
				benchmark(b, memory.New(memory.Options{}), inline{writes}, clients)
			})
			b.Run(fmt.Sprintf("pebble/writes=%d/clients=%d", writes, clients), func(b *testing.B) {
				s, err := pebble.Open(pebble.Options{Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				benchmark(b, s, inline{writes}, clients)
			})
		}
	}
}

func BenchmarkHotCell(b *testing.B) {
	s, err := pebble.Open(pebble.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, s, hot{}, 64)
}
