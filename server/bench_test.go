package server_test

import (
	"strconv"
	"sync"
	"testing"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// BenchmarkSteps: instances that read, then write, ten times each, 64 at once, over a Unix socket. Both ends are in this process.
func BenchmarkSteps(b *testing.B) {
	s := start(b)
	w := s.worker("f")
	go func() {
		steps := map[uint64]int{}
		for {
			m, err := w.stream.Recv()
			if err != nil {
				return
			}
			var out []*beldiv1.Step
			more := func(n uint64) {
				k := steps[n]
				steps[n] = k + 2
				if k == 20 {
					delete(steps, n)
					out = append(out, complete(n, "1"))
					return
				}
				if k > 0 {
					out = append(out, write(n, strconv.Itoa(k), "k"+strconv.FormatUint(n%512, 10), `{"a": 1}`))
				}
				out = append(out, read(n, strconv.Itoa(k+1), "k"+strconv.FormatUint(n%512, 10)))
			}
			for _, a := range m.GetAttempts() {
				more(a.GetAttempt())
			}
			for _, x := range m.GetAnswers() {
				more(x.GetAttempt())
			}
			if w.stream.Send(&beldiv1.FromWorker{Steps: out}) != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	var callers sync.WaitGroup
	turns := make(chan struct{})
	for range 64 {
		callers.Go(func() {
			for range turns {
				if o := <-s.invoke("f", "", "null"); o.err != nil {
					b.Error(o.err)
				}
			}
		})
	}
	for range b.N {
		turns <- struct{}{}
	}
	close(turns)
	callers.Wait()
}
