package main

// The fused protocol, the sidecar's side: requests, runs, attempts, batches as they are sent.

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
