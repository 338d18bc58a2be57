package beldi

import (
	"strconv"
	"sync"
)

// Group runs branches of a function at the same time. Each branch has a [Context] of its own, and names its steps by its place: a
// fork at step 3 names those of its first branch 3/1.1, 3/1.2… whatever the order in which branches overtake each other.
type Group struct {
	context  *Context
	prefix   string
	branches int
	wait     sync.WaitGroup

	mu     sync.Mutex
	failed int // the first branch, in the order of Go, that failed; 0 for none
	err    error
}

// Group begins a fork, which is a step. Branches may fork again.
func (c *Context) Group() *Group { return &Group{context: c, prefix: c.next() + "/"} }

// Go starts a branch. The order of the calls numbers the branches, and must be the same in every attempt.
func (g *Group) Go(branch func(ctx *Context) error) {
	g.branches++
	number := g.branches
	c := &Context{Context: g.context.Context, attempt: g.context.attempt, prefix: g.prefix + strconv.Itoa(number) + "."}
	g.wait.Go(func() {
		err := protect(func() error { return branch(c) })
		if err == nil {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.failed == 0 || number < g.failed {
			g.failed, g.err = number, err
		}
	})
}

// Wait waits for all branches. It returns the error of the first branch, in the order of [Group.Go], that has one – not the first in
// time, which would differ between attempts – and repeats a branch's panic.
func (g *Group) Wait() error {
	g.wait.Wait()
	if p, panicked := g.err.(*panicError); panicked {
		panic(p)
	}
	return g.err
}
