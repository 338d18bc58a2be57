package main

import (
	"bytes"
	"fmt"
	"sort"
	"unsafe"
)

// Fused commits and registration by the first append, for stores whose atomic scope is the whole store.
//
// One batch = {append to the instance's chain, on condition of the tip; the effects, on cells without log and fence}.
// A request from outside runs without a row until its first batch, which inserts the row. Batches are messages: applied at
// any later time, twice or never, also after everything was collected; answers get lost; runs and attempts pause for ever.
// An instance may be asked for again once it is forgotten: its second *life*, which owes its own effects.

const (
	FI = 3 // instances; with calls: 0 the caller, 1 the callee (2 that of the caller's second life)
	FA = 4 // runs and attempts of an instance
	FM = 3 // batches under way
	FL = 2 // lives
)

const opD = 6 // delete a cell

const (
	fFREE, fBEGUN, fNEW, fLOADED, fRUN, fDEAD, fEND = 0, 1, 2, 3, 4, 5, 6
)

// FInst is an instance row with its journal; the journal's records are kept as their union.
type FInst struct {
	row, life, pos, nonce, stamp, gen int8
	jn, done                          int8 // the journal is there; it ends with `done`
	cov                               int8 // effects of the steps below are in the journal
	res                               [MS]int8
	lives, fg                         int8         // how often forgotten; how far the forgetting in hand has come
	runs, takes                       int8         // begun so far
	ended                             [FL]int8     // ghost, like the rest
	out, ans, applied                 [FL][MS]int8 // results by `done`, results told to clients, effects applied
}

// FAtt is a run (reg = 0) or an attempt. Effects of the steps from lo to pc are queued.
type FAtt struct {
	st, life, reg, pos, nonce, gen, need int8
	g, e1                                int8 // the request's generation; the epoch that the insert asks for
	pc, lo, dur, rv                      int8
	res                                  [MS]int8
	seq, rs, looked                      int8
	w, whi, wdone, wbare, wgen           int8 // the batch that is out
}
type FBatch struct {
	k, inst, life, pos, fnonce, nonce, ins, g, e1, gen, lo, hi, done, bare, rv int8
	res                                                                        [MS]int8
}
type FCell struct{ val, rev, n int8 }
type FSt struct {
	in                     [FI]FInst
	at                     [FI][FA]FAtt
	c                      [MC]FCell
	m                      [FM]FBatch
	oF, epoch              int8 // requests from outside: registry fence, epoch
	regF, shF, hlc, e, bad int8 // callers' registry fence, shard fence; env budget
	ticks                  int8
}

const (
	outText  = iota // insert: the run's generation is above the fence; forgetting raises the fence to the row's
	outClock        // forgetting raises the fence to a new generation of the one clock there is
	outEpoch        // the row is stamped with the epoch of its insert; forgetting raises the fence to the stamp
)

type FCfg struct {
	n           int
	prog        func(i, s int, r *[MS]int8) Op
	runs, takes [FI]int8 // runs by requests from outside; take-overs
	resend      int8
	net         int // batches under way, FM unless told
	forget      bool
	again       bool // a request may be made again once it was forgotten
	steps       bool // forgetting takes three steps (fence; row; journal), not one batch
	out         int
	skew        bool // clocks of sidecars differ
	envOut      bool // other requests are forgotten
	ticks       int8 // how often the collector raises the epoch without forgetting
	envReg      bool // other callees are forgotten
	call        bool
	callStep    int8
	ids         bool // a callee's id names the life of its caller
	any         bool // batches may be cut anywhere
	bare        bool // a run may register at any time, with nothing but the attempt record
	lean        bool // take-overs append no attempt record of their own
	noReg       bool // callees are inserted without a look at the registry fence
	opt         bool // the sidecar judges conditions; the batch asks that the cell has not changed
	falseIsRead bool // opt: a false outcome found with an empty queue waits in the buffer
	stuck       bool // also find instances that nobody goes on with
	init        [MC]int8
	mut         int
}

const (
	uNoTip = iota + 1
	uPosOnly
	uSettlePos
	uNotAtomic
	uNoResults
	uNoOutcome
	uRunOn
	uInsertOver
	uNoFence
	uEarlyAnswer
	uLostSuper
	uForgetOrder
	uRerun
	uRenewRun
	uNoEpoch
	uLookFirst
	uGrown
	uNoDrain
	uRevRestart
	uFalseEarly
)

func fusedModel(f *FCfg) Model[FSt] {
	ok := map[[FI]int8]map[foutcome]bool{}
	for a := int8(1); a <= FL; a++ {
		for b := int8(1); b <= FL; b++ {
			ok[[FI]int8{a, b}] = f.allowed([FI]int8{a, b})
		}
	}
	init := FSt{hlc: 1, epoch: 1}
	for c := range init.c {
		if f.init[c] > 0 {
			init.c[c] = FCell{val: f.init[c], rev: 1, n: 1}
		}
		if !f.opt {
			init.c[c].rev, init.c[c].n = 0, 0
		}
	}
	if f.envOut {
		init.e |= 1
	}
	if f.envReg {
		init.e |= 2
	}
	check := func(s *FSt) string {
		switch s.bad {
		case 1:
			return "a row without its journal"
		case 2:
			return "two clients were told different results"
		}
		all := true
		var k foutcome
		var lives [FI]int8
		for i := range s.in {
			I := &s.in[i]
			for l := range I.ended {
				for t := range I.applied[l] {
					if I.applied[l][t] > 1 {
						return fmt.Sprintf("instance %d step %d applied twice", i, t+1)
					}
				}
				if I.ended[l] > 1 {
					return fmt.Sprintf("instance %d completed twice", i)
				}
				if I.ended[l] == 0 {
					continue
				}
				if I.ans[l] != [MS]int8{} && I.ans[l] != I.out[l] {
					return fmt.Sprintf("instance %d: a client was told %v, the result is %v", i, I.ans[l], I.out[l])
				}
				if w := f.path(i, &I.out[l], &I.applied[l]); w != "" {
					return w
				}
				k.r[i][l] = I.out[l]
			}
			all = all && (I.row == 0 || I.done == 1) && (I.ended[0] > 0 || i >= f.n || f.runs[i] == 0)
			if i < 2 {
				lives[i] = max8(1, I.ended[0]+I.ended[1])
			}
		}
		if f.call {
			lives[1] = 1
		}
		if all {
			for c := range s.c {
				k.c[c] = s.c[c].val
			}
			if !ok[lives][k] {
				return fmt.Sprintf("outcome of no crash-free interleaving: cells %v results %v", k.c, k.r)
			}
		}
		return ""
	}
	m := Model[FSt]{Init: init, Next: f.next, Check: check, Show: f.show, Goal: func(s *FSt) bool {
		for i := range s.in {
			I := &s.in[i]
			if (i < f.n && f.runs[i] > 0 && I.ended[0] == 0) || (I.row == 1 && (I.done == 0 || f.forget)) {
				return false
			}
		}
		return true
	}}
	if f.stuck {
		m.Stuck = f.idle
	}
	return m
}

// path compares what one life of an instance applied with what its results say.
func (f *FCfg) path(i int, out, applied *[MS]int8) string {
	t := 0
	for ; t < MS; t++ {
		o := f.prog(i, t, out)
		if o.k == opEND {
			break
		}
		want := int8(0)
		if o.k == opW || o.k == opD || (o.k == opCW && out[t] == 2) {
			want = 1
		}
		if applied[t] != want {
			return fmt.Sprintf("instance %d is done, step %d applied %d times, its result says %d", i, t+1, applied[t], want)
		}
	}
	for ; t < MS; t++ {
		if applied[t] > 0 {
			return fmt.Sprintf("instance %d applied step %d, which is not on its path", i, t+1)
		}
	}
	return ""
}

// idle: registered, not done, and nobody waits for an answer that could still come.
func (f *FCfg) idle(s *FSt) string {
	for i := range s.in {
		waits := false
		for k := range s.at[i] {
			waits = waits || s.at[i][k].w != 0
		}
		if s.in[i].row == 1 && s.in[i].done == 0 && !waits {
			return fmt.Sprintf("instance %d is registered and waits for a take-over", i)
		}
	}
	return ""
}

func (f *FCfg) show(s *FSt) string {
	b := ""
	for c := range s.c {
		b += fmt.Sprintf("cell%d=%d ", c, s.c[c].val)
	}
	for i := 0; i < f.n; i++ {
		I := &s.in[i]
		b += fmt.Sprintf("inst%d{row%d tip%d/%d done%d results%v} ", i, I.row, I.pos, I.nonce, I.done, I.res)
	}
	return b + fmt.Sprintf("fence%d epoch%d regFence%d", s.oF, s.epoch, s.regF)
}

type foutcome struct {
	c [MC]int8
	r [FI][FL][MS]int8
}

// callee is the instance that a life of the caller invokes, and the life that this is for it.
func (f *FCfg) callee(life int8) (int, int8) {
	if f.ids {
		return 1 + int(life), 0
	}
	return 1, life
}

// allowed: outcomes of all crash-free interleavings of atomic steps, when the instances live so many lives, one after another.
func (f *FCfg) allowed(lives [FI]int8) map[foutcome]bool {
	type q struct {
		foutcome
		pc, live [FI][FL]int8 // live: 0 not started, 1 runs, 2 ended
	}
	res, seen := map[foutcome]bool{}, map[q]bool{}
	var walk func(s q)
	walk = func(s q) {
		if seen[s] {
			return
		}
		seen[s] = true
		moved := false
		for i := range s.pc {
			for l := range s.pc[i] {
				if s.live[i][l] != 1 {
					continue
				}
				t := s
				r := &t.r[i][l]
				p := t.pc[i][l]
				o := f.prog(i, int(p), r)
				t.pc[i][l]++
				switch o.k {
				case opR:
					r[p] = t.c[o.cell] + 1
				case opW:
					t.c[o.cell] = o.val
				case opD:
					t.c[o.cell] = 0
				case opCW:
					r[p] = 1
					if t.c[o.cell] == o.exp {
						t.c[o.cell], r[p] = o.val, 2
					}
				case opINV:
					j, m := f.callee(int8(l))
					switch t.live[j][m] {
					case 0:
						t.live[j][m] = 1
						t.pc[i][l]--
					case 1:
						continue
					case 2:
						r[p] = t.r[j][m][0]
					}
				case opEND:
					t.live[i][l] = 2
					if l+1 < int(lives[i]) {
						t.live[i][l+1] = 1
					}
				}
				moved = true
				walk(t)
			}
		}
		if !moved {
			res[s.foutcome] = true
		}
	}
	s := q{}
	s.c = f.init
	for i := 0; i < f.n; i++ {
		if f.runs[i] > 0 {
			s.live[i][0] = 1
		}
	}
	walk(s)
	return res
}

func (s *FSt) canon() {
	sort.Slice(s.m[:], func(a, b int) bool {
		return bytes.Compare((*[unsafe.Sizeof(FBatch{})]byte)(unsafe.Pointer(&s.m[a]))[:], (*[unsafe.Sizeof(FBatch{})]byte)(unsafe.Pointer(&s.m[b]))[:]) < 0
	})
}

func (f *FCfg) next(s *FSt, c *Ctx[FSt]) {
	emit := func(t FSt, format string, a ...int8) {
		t.canon()
		c.add(t, format, a...)
	}
	for i := range s.in {
		I := &s.in[i]
		if slot := s.free(i); slot >= 0 {
			if I.runs < f.runs[i] && f.open(I) {
				f.begin(s, i, slot, emit)
			}
			if I.row == 1 && I.done == 0 && I.takes < f.takes[i] {
				t := *s
				t.in[i].takes++
				t.at[i][slot] = FAtt{st: fNEW, rs: f.resend}
				emit(t, "inst %d: take-over %d is decided on", int8(i), int8(slot))
			}
		}
		for k := range s.at[i] {
			f.attempt(s, i, k, emit)
		}
		if f.forget {
			f.forgetting(s, i, emit)
		}
	}
	for k := range s.m {
		if s.m[k].k != 0 && (k == 0 || s.m[k] != s.m[k-1]) {
			f.deliver(s, k, emit)
		}
	}
	if s.e&1 != 0 {
		t := *s
		t.e &^= 1
		if f.out == outEpoch {
			t.oF = max8(s.oF, s.epoch)
			t.epoch++
		} else {
			t.oF = max8(s.oF, s.hlc)
		}
		emit(t, "other requests are forgotten, fence %d", t.oF)
	}
	if s.ticks < f.ticks {
		t := *s
		t.ticks++
		t.epoch++
		emit(t, "the collector raises the epoch to %d", t.epoch)
	}
	if s.e&2 != 0 {
		t := *s
		t.e &^= 2
		t.regF = max8(s.regF, s.hlc)
		emit(t, "other callees are forgotten, registry fence %d", t.regF)
	}
}
