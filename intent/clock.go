package intent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/beldi/beldi/daal"
)

// This file is the core's only contact with time and chance. Safety depends on neither: a generation that lags is refused by a fence and renewed,
// a lease that is judged wrongly makes two attempts of which one is superseded.

// hlc gives generations: a hybrid logical clock.
type hlc struct {
	mu   sync.Mutex
	last daal.Generation
	now  func() time.Time
}

// systemClock is the clock of a sidecar that is not simulated.
func systemClock() time.Time { return time.Now() }

// logicalBits are the bits of a generation below the milliseconds.
const logicalBits = 16

// next returns a generation above all that were given or seen before, and above `above`.
func (c *hlc) next(above daal.Generation) daal.Generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, above+1, daal.Generation(c.now().UnixMilli()<<logicalBits))
	return c.last
}

// backoff is a growing pause with jitter: 5 ms doubling to 1 s.
type backoff struct {
	pause time.Duration
	tries int
	r     *Runtime
}

func (r *Runtime) backoff() *backoff { return &backoff{pause: 5 * time.Millisecond, r: r} }

// sleep waits for the next pause or the end of ctx.
func (b *backoff) sleep(ctx context.Context) error {
	b.tries++
	d := b.pause/2 + time.Duration(b.r.random()%uint64(b.pause))
	b.pause = min(2*b.pause, time.Second)
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// after calls f a moment later, unless stop is called first.
func after(d time.Duration, f func()) (stop func()) {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}

// entropy hands out random numbers of a buffer that crypto/rand fills: a system call for every 512 of them.
type entropy struct {
	mu  sync.Mutex
	buf [4096]byte
	pos int
}

func (e *entropy) next() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pos == 0 {
		rand.Read(e.buf[:]) // never fails (crypto/rand)
	}
	n := binary.LittleEndian.Uint64(e.buf[e.pos:])
	e.pos = (e.pos + 8) % len(e.buf)
	return n
}
