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
	if s.e&2 != 0 {
		t := *s
		t.e &^= 2
		t.regF = max8(s.regF, s.hlc)
		emit(t, "other callees are forgotten, registry fence %d", t.regF)
	}
}

func (s *FSt) free(i int) int {
	for k := range s.at[i] {
		if s.at[i][k].st == fFREE {
			return k
		}
	}
	return -1
}

// open: a request may still be made.
func (f *FCfg) open(I *FInst) bool { return I.lives == 0 || (f.again && I.lives < FL) }

// begin: a client asks (or asks again); a sidecar draws the request's generation, before it looks for the row.
func (f *FCfg) begin(s *FSt, i, slot int, emit func(FSt, string, ...int8)) {
	gs := []int8{0}
	if f.mut != uLookFirst {
		gs = f.draw(s)
	}
	for _, g := range gs {
		t := *s
		t.in[i].runs++
		t.hlc = max8(s.hlc, min(g, s.hlc+1))
		t.at[i][slot] = FAtt{st: fBEGUN, g: g, e1: s.epoch, rs: f.resend}
		if f.out == outEpoch {
			t.hlc = s.hlc
		}
		emit(t, "inst %d: run %d begins, generation %d", int8(i), int8(slot), g)
	}
}

// draw gives the generations that a run may begin with. A clock that runs ahead is not seen by the others.
func (f *FCfg) draw(s *FSt) []int8 {
	switch {
	case f.out == outEpoch:
		return []int8{s.epoch}
	case f.skew:
		return []int8{s.hlc + 1, s.hlc + 4}
	}
	return []int8{s.hlc + 1}
}

func (f *FCfg) queued(i int, a *FAtt) bool {
	for t := a.lo; t < a.pc; t++ {
		if k := f.prog(i, int(t), &a.res).k; k == opW || k == opD {
			return true
		}
	}
	return false
}

// advance does the local steps: what is known is passed, writes are queued.
func (f *FCfg) advance(i int, a *FAtt) {
	for {
		switch o := f.prog(i, int(a.pc), &a.res); o.k {
		case opW, opD:
			if f.any && a.pc >= a.lo {
				return
			}
		case opEND:
			return
		default:
			if a.res[a.pc] == 0 || a.rv != 0 {
				return
			}
		}
		a.pc++
	}
}

func (f *FCfg) attempt(s *FSt, i, k int, emit func(FSt, string, ...int8)) {
	I := &s.in[i]
	a := &s.at[i][k]
	i8, k8 := int8(i), int8(k)
	t := *s
	b := &t.at[i][k]
	switch a.st {
	case fBEGUN:
		if I.row == 1 && a.looked == 0 {
			*b = FAtt{st: fEND}
			emit(t, "inst %d run %d: the row is there, the client waits for it", i8, k8)
			return
		}
		if a.looked == 0 && !f.open(I) { // nobody asks again after the retention, in this run
			*b = FAtt{st: fEND}
			emit(t, "inst %d run %d: too late", i8, k8)
			return
		}
		if a.looked == 0 {
			b.life = I.lives // the look decides which life a request means
		}
		if f.mut == uLookFirst && a.looked == 0 {
			b.looked = 1
			emit(t, "inst %d run %d: no row", i8, k8)
			return
		}
		if f.mut == uLookFirst {
			b.g, b.e1, b.looked = s.epoch, s.epoch, 0
		}
		b.st, b.gen = fRUN, f.callerGen(&t)
		f.advance(i, b)
		emit(t, "inst %d run %d: no row, runs unregistered", i8, k8)
	case fNEW:
		switch {
		case I.row == 0 || I.done == 1:
			*b = FAtt{st: fEND}
		case I.jn == 0:
			t.bad = 1
		default:
			b.st, b.life, b.reg, b.pos, b.nonce, b.lo, b.res = fLOADED, I.life, 1, I.pos, I.nonce, I.cov, I.res
			for q := range I.res {
				if I.res[q] != 0 {
					b.dur |= 1 << q
				}
			}
			if f.lean {
				b.st = fRUN
				f.advance(i, b)
			}
		}
		emit(t, "inst %d attempt %d loads the journal (%d records, covers %d)", i8, k8, I.pos, I.cov)
	case fLOADED:
		if a.w == 0 {
			b.gen = f.callerGen(&t)
			f.send(&t, i, k, a.lo, 0, 1, emit, "attempt record")
		} else {
			f.repeat(s, i, k, emit)
		}
	case fRUN:
		if a.w != 0 {
			f.repeat(s, i, k, emit)
			return
		}
		f.run(s, i, k, emit)
	}
}

// callerGen draws a generation for an attempt; only callers need one.
func (f *FCfg) callerGen(t *FSt) int8 {
	if !f.call || f.noReg {
		return 0
	}
	t.hlc++
	return t.hlc
}

// repeat: no answer came, the same batch is sent once more.
func (f *FCfg) repeat(s *FSt, i, k int, emit func(FSt, string, ...int8)) {
	a := &s.at[i][k]
	if a.rs == 0 {
		return
	}
	t := *s
	b := &t.at[i][k]
	b.rs--
	if f.mut == uGrown && a.whi == a.pc { // with what the function has done meanwhile
		switch f.prog(i, int(a.pc), &a.res).k {
		case opW:
			b.pc++
			b.whi = b.pc
		case opEND:
			b.wdone = 1
		}
	}
	if t.put(f, f.batch(&t, i, k)) {
		emit(t, "inst %d attempt %d sends batch %d again", int8(i), int8(k), a.w)
	}
}

func (s *FSt) put(f *FCfg, m FBatch) bool {
	n, at := 0, -1
	for k := range s.m {
		if s.m[k].k != 0 {
			n++
		} else {
			at = k
		}
	}
	if at < 0 || (f.net > 0 && n >= f.net) {
		return false
	}
	s.m[at] = m
	return true
}

func (f *FCfg) batch(s *FSt, i, k int) FBatch {
	a := &s.at[i][k]
	m := FBatch{k: 1, inst: int8(i), life: a.life, pos: a.pos, fnonce: a.nonce, nonce: a.w, gen: a.gen, lo: a.lo, hi: a.whi, done: a.wdone, bare: a.wbare, rv: a.rv}
	if a.reg == 0 {
		m.ins, m.g, m.e1 = 1, a.g, a.e1
	}
	if a.wbare == 0 {
		m.res = a.res
	}
	return m
}

// send makes a batch of the effects up to hi, with all buffered results unless bare.
func (f *FCfg) send(t *FSt, i, k int, hi, done, bare int8, emit func(FSt, string, ...int8), what string) {
	b := &t.at[i][k]
	b.seq++
	if b.seq > 15 {
		panic("too many batches of one attempt")
	}
	b.w, b.whi, b.wdone, b.wbare = int8(k)*16+b.seq, hi, done, bare
	if !t.put(f, f.batch(t, i, k)) {
		return
	}
	if f.mut == uEarlyAnswer && done == 1 {
		t.tell(i, b)
	}
	emit(*t, "inst %d attempt %d sends batch %d: "+what+", steps %d to %d", int8(i), int8(k), b.w, b.lo+1, hi)
}

// tell answers a client.
func (s *FSt) tell(i int, a *FAtt) {
	x := &s.in[i].ans[a.life]
	if *x != [MS]int8{} && *x != a.res {
		s.bad = 2
	}
	*x = a.res
}

func (f *FCfg) run(s *FSt, i, k int, emit func(FSt, string, ...int8)) {
	a := &s.at[i][k]
	i8, k8 := int8(i), int8(k)
	o := f.prog(i, int(a.pc), &a.res)
	q := f.queued(i, a)
	t := *s
	b := &t.at[i][k]
	if a.need > 0 {
		t.hlc = max8(t.hlc, a.need) + 1
		b.gen = t.hlc
		f.send(&t, i, k, a.lo, 0, 0, emit, "renewal")
		return
	}
	if f.any && a.rv == 0 {
		fresh := q
		for p := range a.res {
			fresh = fresh || (a.res[p] != 0 && a.dur&(1<<p) == 0)
		}
		if fresh {
			f.send(&t, i, k, a.pc, 0, 0, emit, "results and effects so far")
			t = *s
		}
	}
	if f.bare && a.reg == 0 {
		f.send(&t, i, k, a.lo, 0, 1, emit, "row with the attempt record alone")
		t = *s
	}
	switch o.k {
	case opW, opD:
		b.pc++
		f.advance(i, b)
		emit(t, "inst %d attempt %d: step %d is queued", i8, k8, a.pc+1)
	case opR:
		if q && f.mut != uNoDrain {
			f.send(&t, i, k, a.pc, 0, 0, emit, "the queue, before a read")
			return
		}
		b.res[a.pc] = s.c[o.cell].val + 1
		f.advance(i, b)
		emit(t, "inst %d attempt %d reads cell %d: %d", i8, k8, o.cell, s.c[o.cell].val)
	case opCW:
		if f.opt && a.rv == 0 {
			f.judge(s, i, k, o, q, emit)
			return
		}
		f.send(&t, i, k, a.pc+1, 0, 0, emit, "conditional write")
	case opINV:
		if a.lo <= a.pc {
			f.send(&t, i, k, a.pc+1, 0, 0, emit, "registers the callee")
			return
		}
		j, _ := f.callee(a.life)
		if C := &s.in[j]; C.row == 1 && C.done == 1 {
			b.res[a.pc] = C.res[0]
			f.advance(i, b)
			emit(t, "inst %d attempt %d has the callee's result %d", i8, k8, C.res[0])
		}
	case opEND:
		f.send(&t, i, k, a.pc, 1, 0, emit, "done")
	}
}

// judge: the sidecar evaluates the condition over the cell as read, overlaid with its own queue.
func (f *FCfg) judge(s *FSt, i, k int, o Op, q bool, emit func(FSt, string, ...int8)) {
	a := &s.at[i][k]
	t := *s
	b := &t.at[i][k]
	v := s.c[o.cell].val
	for p := a.lo; p < a.pc; p++ {
		switch w := f.prog(i, int(p), &a.res); {
		case w.k == opW && w.cell == o.cell:
			v = w.val
		case w.k == opD && w.cell == o.cell:
			v = 0
		}
	}
	b.res[a.pc] = 1
	if v == o.exp {
		b.res[a.pc] = 2
	}
	b.rv = s.c[o.cell].rev + 1
	if b.res[a.pc] == 1 && ((f.falseIsRead && !q) || f.mut == uFalseEarly) {
		b.rv = 0
	}
	f.advance(i, b)
	emit(t, "inst %d attempt %d judges step %d over revision %d: outcome %d", int8(i), int8(k), a.pc+1, s.c[o.cell].rev, b.res[a.pc])
}

const (
	fOK, fTIP, fFENCE, fEPOCH, fREG, fREV = 0, 1, 2, 3, 4, 5
)

// refusal judges a batch's conditions.
func (f *FCfg) refusal(s *FSt, m *FBatch) int8 {
	I := &s.in[m.inst]
	if m.ins == 1 {
		switch {
		case I.row == 1 && !(f.mut == uInsertOver && I.done == 0):
			return fTIP
		case f.mut == uNoFence:
		case f.out == outEpoch && m.e1 != s.epoch:
			return fEPOCH
		case m.g <= s.oF:
			return fFENCE
		}
	} else if I.row == 0 {
		return fTIP
	} else if f.mut != uNoTip && (I.pos != m.pos || (I.nonce != m.fnonce && f.mut != uPosOnly)) {
		return fTIP
	}
	for p := m.lo; p < m.hi; p++ {
		switch o := f.prog(int(m.inst), int(p), &m.res); o.k {
		case opINV:
			j, _ := f.callee(m.life)
			if s.in[j].row == 0 && m.gen <= s.regF && !f.noReg {
				return fREG
			}
		case opCW:
			if p == m.hi-1 && m.rv != 0 && m.rv != s.c[o.cell].rev+1 {
				return fREV
			}
		}
	}
	return fOK
}

// effects applies the batch's effects and returns what the record says about its conditional one.
func (f *FCfg) effects(t *FSt, m *FBatch) (res [MS]int8) {
	I := &t.in[m.inst]
	set := func(c, v int8) {
		x := &t.c[c]
		x.val = v
		if !f.opt {
			return
		}
		switch {
		case v == 0:
			x.rev = 0
		case f.mut == uRevRestart:
			x.rev++
		default: // a revision is never used twice, also over a deletion
			x.n++
			x.rev = x.n
		}
	}
	res = m.res
	for p := m.lo; p < m.hi; p++ {
		o := f.prog(int(m.inst), int(p), &res)
		did := int8(0)
		switch o.k {
		case opW:
			set(o.cell, o.val)
			did = 1
		case opD:
			set(o.cell, 0)
			did = 1
		case opCW:
			if res[p] == 0 { // else the sidecar has judged, or it was found false before
				res[p] = 1
				if t.c[o.cell].val == o.exp {
					res[p] = 2
				}
			}
			if res[p] == 2 {
				set(o.cell, o.val)
				did = 1
			}
		case opINV:
			j, l := f.callee(m.life)
			if C := &t.in[j]; C.row == 0 {
				*C = FInst{row: 1, life: l, jn: 1, nonce: -1, lives: C.lives, runs: C.runs, takes: C.takes, ended: C.ended, out: C.out, ans: C.ans, applied: C.applied}
			}
		}
		I.applied[m.life][p] = min(I.applied[m.life][p]+did, 2)
	}
	return res
}

func (f *FCfg) deliver(s *FSt, n int, emit func(FSt, string, ...int8)) {
	m := s.m[n]
	t := *s
	t.m[n] = FBatch{}
	I := &t.in[m.inst]
	why := f.refusal(s, &m)
	res := m.res
	if why == fOK || (why == fTIP && f.mut == uNotAtomic) {
		res = f.effects(&t, &m)
	}
	if why == fOK {
		if m.ins == 1 {
			*I = FInst{row: 1, life: m.life, stamp: m.g, lives: I.lives, fg: I.fg, runs: I.runs, takes: I.takes, ended: I.ended, out: I.out, ans: I.ans, applied: I.applied}
			if f.out == outEpoch {
				I.stamp = s.epoch
			}
		}
		I.jn, I.pos, I.nonce, I.gen = 1, m.pos+1, m.nonce, max8(I.gen, m.gen)
		I.cov = max8(I.cov, m.hi)
		for p := range res {
			k := f.prog(int(m.inst), p, &res).k
			switch {
			case res[p] == 0 || m.bare == 1:
			case f.mut == uNoResults && m.done == 0 && k == opR:
			case f.mut == uNoOutcome && m.done == 0 && k == opCW:
				if int8(p) < m.hi {
					I.cov = min(I.cov, int8(p))
				}
			default:
				I.res[p] = res[p]
			}
		}
		if m.done == 1 {
			I.done = 1
			I.ended[I.life] = min(I.ended[I.life]+1, 2)
			if I.ended[I.life] == 1 {
				I.out[I.life] = I.res
			}
		}
	}
	what := [...]string{"applied", "refused: the tip is another", "refused by the fence", "refused: the epoch is another", "refused by the registry fence", "refused: the cell has changed"}[why]
	for k := range t.at[m.inst] {
		if a := &t.at[m.inst][k]; a.w == m.nonce && (a.st == fRUN || a.st == fLOADED) {
			emit(t, "store: batch %d of inst %d "+what+", the answer is lost", m.nonce, m.inst)
			u := t
			f.answer(&u, int(m.inst), k, why, res)
			emit(u, "store: batch %d of inst %d "+what, m.nonce, m.inst)
			return
		}
	}
	emit(t, "store: late batch %d of inst %d "+what, m.nonce, m.inst)
}

func (f *FCfg) answer(t *FSt, i, k int, why int8, res [MS]int8) {
	I := &t.in[i]
	b := &t.at[i][k]
	own := why == fOK
	if why == fTIP && I.row == 1 && f.mut != uLostSuper {
		own = I.nonce == b.w || (f.mut == uSettlePos && I.pos == b.pos+1) // settled: an earlier copy was applied
	}
	if f.mut == uRunOn && why == fTIP && b.reg == 0 && I.row == 1 && I.done == 0 {
		*b = FAtt{st: fRUN, life: b.life, reg: 1, pos: I.pos, nonce: I.nonce, gen: b.gen, pc: b.pc, lo: b.lo, res: b.res, seq: b.seq, rs: b.rs}
		return
	}
	if own {
		if b.wdone == 1 {
			t.tell(i, b)
			*b = FAtt{st: fEND}
			return
		}
		b.reg, b.pos, b.nonce = 1, b.pos+1, b.w
		b.lo = max8(b.lo, b.whi)
		if o := f.prog(i, int(b.pc), &b.res); o.k == opCW && b.whi > b.pc && b.rv+b.res[b.pc] == 0 {
			switch { // an answer brings the outcome; else the record has it
			case why == fOK:
				b.res[b.pc] = res[b.pc]
			case f.mut == uNoOutcome:
				b.res[b.pc] = 1
				if t.c[o.cell].val == o.exp {
					b.res[b.pc] = 2
				}
			default:
				b.res[b.pc] = I.res[b.pc]
			}
		}
		b.rv = 0
		for p := range b.res {
			if b.res[p] != 0 && b.wbare == 0 {
				b.dur |= 1 << p
			}
		}
		b.w, b.whi, b.wbare, b.need, b.g, b.e1 = 0, 0, 0, 0, 0, 0
		b.st = fRUN
		f.advance(i, b)
		return
	}
	switch why {
	case fTIP:
		if b.st == fLOADED {
			*b = FAtt{st: fNEW, seq: b.seq, rs: b.rs}
			return
		}
	case fEPOCH:
		if b.g > t.oF {
			b.e1, b.w = t.epoch, 0
			return
		}
	case fFENCE:
		if f.mut == uRerun {
			t.hlc++
			*b = FAtt{st: fRUN, life: b.life, g: t.hlc, rs: b.rs, seq: b.seq}
			f.advance(i, b)
			return
		}
	case fREG:
		b.need, b.w = t.regF, 0
		return
	case fREV:
		b.w, b.rv, b.res[b.pc] = 0, 0, 0
		return
	}
	*b = FAtt{st: fDEAD}
}

func (f *FCfg) forgetting(s *FSt, i int, emit func(FSt, string, ...int8)) {
	I := &s.in[i]
	t := *s
	J := &t.in[i]
	raise := func() {
		switch {
		case f.call && i > 0:
			t.regF = max8(s.regF, s.in[0].gen, s.shF)
		case f.out == outText:
			t.oF = max8(s.oF, I.stamp)
		case f.out == outClock:
			t.hlc++
			t.oF = max8(s.oF, I.stamp, t.hlc)
		case f.out == outEpoch:
			t.oF = max8(s.oF, I.stamp)
			t.epoch = max8(s.epoch, I.stamp+1)
		}
		t.shF = max8(s.shF, I.gen)
	}
	row := func() {
		*J = FInst{jn: 1, lives: I.lives + 1, fg: I.fg, runs: I.runs, takes: I.takes, ended: I.ended, out: I.out, ans: I.ans, applied: I.applied, res: I.res}
	}
	journal := func() { J.jn, J.res, J.cov, J.done = 0, [MS]int8{}, 0, 0 }
	switch I.fg {
	case 0:
		if I.row == 0 || I.done == 0 || I.lives >= FL {
			return
		}
		if C := &s.in[0]; f.call && i > 0 && C.row == 1 && C.res[f.callStep] == 0 && !(f.ids && C.life != int8(i-1)) {
			return // the caller can still ask
		}
		if !f.steps {
			raise()
			row()
			journal()
			emit(t, "collector forgets inst %d, fence %d", int8(i), t.oF)
			return
		}
		J.fg = 1
		if f.mut == uForgetOrder {
			row()
			J.stamp = I.stamp
			emit(t, "collector deletes the row of inst %d", int8(i))
			return
		}
		raise()
		emit(t, "collector raises the fence for inst %d to %d", int8(i), t.oF)
	case 1:
		J.fg = 2
		if f.mut == uForgetOrder {
			raise()
			emit(t, "collector raises the fence for inst %d to %d", int8(i), t.oF)
			return
		}
		row()
		J.fg = 2
		emit(t, "collector deletes the row of inst %d", int8(i))
	case 2:
		journal()
		J.fg = 0
		emit(t, "collector deletes the journal of inst %d", int8(i))
	}
}
