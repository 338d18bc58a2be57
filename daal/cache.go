package daal

import (
	"hash/maphash"
	"slices"
	"sync"
)

// cached is what is remembered of a cell. It is a hint: every update that relies on it carries conditions that fail if it is stale.
type cached struct {
	head   head
	noHead bool // rows: only tail and frozen are known
	// rows: D4
	tail   int64
	frozen map[string]frozenEntry // log ids of the rows below the tail; nil if there are none
}

// headCache is a map bounded by the bytes of its values.
type headCache struct {
	mu    sync.Mutex
	m     map[Address]cached
	bytes int
	limit int
}

// cellOverhead is about what an entry costs beside its value.
const cellOverhead = 400

func (c *headCache) init(limit int) { c.m, c.limit = map[Address]cached{}, limit }

func size(e cached) int {
	n := cellOverhead + len(e.head.value.Data)
	for id := range e.frozen {
		n += len(id) + 64
	}
	return n
}

func (c *headCache) get(a Address) (cached, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[a]
	return e, ok
}

func (c *headCache) put(a Address, e cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.m[a]; ok {
		c.bytes -= size(old)
	}
	c.m[a] = e
	c.bytes += size(e)
	for b, old := range c.m { // any victim will do: what is hot comes back with its next use
		if c.bytes <= c.limit {
			break
		}
		c.bytes -= size(old)
		delete(c.m, b)
	}
}

// update puts e in the place of what is remembered of the cell, if anything is.
func (c *headCache) update(a Address, e cached) {
	c.mu.Lock()
	_, ok := c.m[a]
	c.mu.Unlock()
	if ok {
		c.put(a, e)
	}
}

func (c *headCache) drop(a Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.m[a]; ok {
		c.bytes -= size(old)
		delete(c.m, a)
	}
}

// dropRevision forgets a cell if it is remembered with that revision.
func (c *headCache) dropRevision(a Address, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.m[a]; ok && old.head.rev == rev {
		c.bytes -= size(old)
		delete(c.m, a)
	}
}

// Conditional effects on one cell are serialised inside a sidecar: racing ones would refuse each other. Locks are channels, not
// mutexes, so that a waiter can give up with its context and simulated time can pass while one waits.
const lockStripes = 256

var lockSeed = maphash.MakeSeed()

func (c *Cells) stripe(a Address) int {
	return int(maphash.Comparable(lockSeed, a) % lockStripes)
}

// lock takes the stripes of the addresses in order, each once, and returns what releases them.
func (c *Cells) lock(at []Address) (unlock func()) {
	stripes := make([]int, 0, len(at))
	for i := range at {
		stripes = append(stripes, c.stripe(at[i]))
	}
	slices.Sort(stripes)
	stripes = slices.Compact(stripes)
	for _, s := range stripes {
		c.locks[s] <- struct{}{}
	}
	return func() {
		for _, s := range stripes {
			<-c.locks[s]
		}
	}
}
