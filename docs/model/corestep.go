package main

// The core model, what attempts and the collector do.

func (f *Cfg) next(s *St, c *Ctx[St]) {
	emit := func(t St, format string, a ...int8) {
		t.canon()
		c.add(t, format, a...)
	}
	for i := 0; i < f.n; i++ {
		I := &s.in[i]
		callee := f.call && i == 1
		// the intent collector decides to start an attempt (and may then pause as long as it likes)
		live := 0
		slot := -1
		for k := range s.at[i] {
			if s.at[i][k].st == stFREE {
				slot = k
			} else {
				live++
			}
		}
		if live < f.atts[i] && slot >= 0 && I.row == 1 && doneRec(I) == nil && (!callee || f.ic) {
			t := *s
			adm := int8(1)
			if callee && f.admit > 0 && f.admit < 3 {
				adm = 0
			}
			t.at[i][slot] = Att{st: stNEW, adm: adm, rs: f.resend}
			emit(t, "inst %d: a new attempt is decided on", int8(i))
		}
		for k := range s.at[i] {
			f.attempt(s, i, k, emit)
		}
		// prune a covered entry (R8), or one whose instance is gone (R12)
		for x := range s.c {
			for st := int8(0); st < MS; st++ {
				bit := uint8(1) << (i*MS + int(st))
				if s.c[x].log&bit == 0 {
					continue
				}
				if f.gc {
					for p := range I.rec {
						r := &I.rec[p]
						if r.kind != 0 && r.cov > st {
							t := *s
							t.c[x].log &^= bit
							t.c[x].out &^= bit
							g := r.gen
							if f.covRenew && p > 0 {
								g = I.rec[p-1].gen
							}
							switch f.mut {
							case mPruneNoRaise:
								g = 0
							case mPruneEntryGen:
								g = s.c[x].eg[i*MS+int(st)]
							}
							t.c[x].eg[i*MS+int(st)] = 0
							if f.mut == mPruneSetFence {
								t.c[x].fence = g
							} else {
								t.c[x].fence = max8(t.c[x].fence, g)
							}
							emit(t, "GC prunes (inst %d, step %d) from cell %d, fence >= %d", int8(i), st+1, int8(x), g)
							break
						}
					}
				}
				if f.r12 && I.row == 0 {
					t := *s
					t.c[x].log &^= bit
					t.c[x].out &^= bit
					t.c[x].eg[i*MS+int(st)] = 0
					g := s.regF
					if f.fenceDone {
						g = s.shF
					}
					if f.mut == mR12ReadFirst {
						g = 0 // what the fence was before the instance was seen to be gone
					}
					t.c[x].fence = max8(t.c[x].fence, g)
					emit(t, "GC prunes (gone inst %d, step %d) from cell %d, fence >= %d", int8(i), st+1, int8(x), g)
				}
			}
		}
		if f.forget {
			f.forgetting(s, i, emit)
		}
		if callee && f.cross && I.row == 1 {
			if r := doneRec(I); r != nil {
				n := 0
				for k := range s.m {
					if s.m[k].k == kCB || s.m[k].k == kGEN || s.m[k].k == kACK {
						n++
					}
				}
				t := *s
				if n < 2 && I.ack == 0 && t.send(Msg{k: kCB, val: r.res[0] + 1}) {
					emit(t, "callee's realm sends the callback")
				}
			}
		}
	}
	for k := range s.m {
		if s.m[k].k != 0 && (k == 0 || s.m[k] != s.m[k-1]) {
			f.deliver(s, k, emit)
		}
	}
	if s.env&1 != 0 {
		for x := range s.c {
			t := *s
			t.env &^= 1
			t.c[x].fence = max8(t.c[x].fence, s.hlc)
			emit(t, "another instance's prune raises the fence of cell %d to %d", int8(x), s.hlc)
		}
	}
	if s.env&2 != 0 {
		t := *s
		t.env &^= 2
		t.regF = max8(t.regF, s.hlc)
		emit(t, "forgetting another instance raises the registry fence to %d", t.regF)
	}
}

func (f *Cfg) forgetting(s *St, i int, emit func(St, string, ...int8)) {
	I := &s.in[i]
	switch I.fg {
	case 0:
		d := doneRec(I)
		if d == nil || I.row == 0 {
			return
		}
		g := I.gc
		if f.call && i == 1 {
			C := &s.in[0]
			if f.cross {
				if I.ack == 0 {
					return
				}
				g = I.ack
			} else if C.row == 0 {
				if !f.fenceDone {
					return
				}
				g = s.shF
			} else {
				g = 0
				for p := range C.rec {
					if C.rec[p].kind != 0 && C.rec[p].cov > f.callStep {
						g = max8(g, C.rec[p].gen)
					}
				}
				if g == 0 {
					return
				}
				for p := range C.rec { // "the caller's generation at that moment"
					g = max8(g, C.rec[p].gen)
				}
			}
		}
		t := *s
		t.in[i].fg = 1
		if f.mut != mForgetNoRaise && f.mut != mForgetRowFirst {
			t.regF = max8(t.regF, g)
		}
		if f.fenceDone {
			t.shF = max8(t.shF, d.gen)
		}
		emit(t, "collector raises the registry fence to %d for inst %d (own-shard fence %d)", t.regF, int8(i), t.shF)
	case 1:
		t := *s
		t.in[i].row, t.in[i].tip, t.in[i].tipGen, t.in[i].adm, t.in[i].gc = 0, 0, 0, 0, 0
		t.in[i].fg = 2
		emit(t, "collector deletes the row of inst %d", int8(i))
	case 2:
		t := *s
		t.in[i].rec = [MP]Rec{}
		t.in[i].fg = 3
		if i == 0 {
			t.in[i].inbox = 0
		}
		if f.mut == mForgetRowFirst {
			t.regF = max8(t.regF, I.ack, s.hlc)
		}
		emit(t, "collector deletes the journal of inst %d", int8(i))
	}
}

func (f *Cfg) attempt(s *St, i, k int, emit func(St, string, ...int8)) {
	I := &s.in[i]
	a := &s.at[i][k]
	i8, k8 := int8(i), a.gen
	callee := f.call && i == 1
	// R11: the read of the registry fence
	if callee && a.adm == 0 && a.st >= stNEW && a.st <= stRUN && (f.admit < 2 || a.st == stRUN || f.mut == mRegReadFirst) {
		g := a.sg
		if f.admit > 0 && I.row == 1 {
			g = max8(g, I.gc)
		}
		t := *s
		b := &t.at[i][k]
		if g > s.regF || f.mut == mRegNoFence {
			b.adm = 1
			emit(t, "inst %d g%d: registry fence %d is below the caller's generation %d: admitted", i8, k8, s.regF, g)
		} else {
			J := &t.in[i]
			if f.admit == 2 && f.mut != mWithdrawBlind {
				if J.row == 1 && J.adm == 0 && J.tip == a.pos && J.tipGen == a.tipGen {
					*J = Inst{fg: J.fg, ended: J.ended, out: J.out, applied: J.applied, ack: J.ack}
				}
			} else {
				J.row, J.tip, J.tipGen, J.adm, J.gc = 0, 0, 0, 0, 0
				if f.admit == 2 {
					J.rec = [MP]Rec{}
				}
			}
			for q := range t.at[0] {
				b := &t.at[0][q]
				if b.st == stRUN && b.wait == 1 && b.queue == 1<<f.callStep && b.gen == a.sg {
					b.need, b.wait = max8(s.regF, 1), 0
				}
			}
			f.kill(b, stDEAD)
			emit(t, "inst %d g%d: registry fence %d is not below the caller's generation %d: withdrawn, caller told to renew", i8, k8, s.regF, g)
		}
	}
	switch a.st {
	case stNEW: // load the journal
		t := *s
		b := &t.at[i][k]
		if f.chain && I.row == 0 {
			f.kill(b, stDEAD)
			emit(t, "inst %d: attempt finds no row", i8)
			return
		}
		top := int8(MP)
		if f.chain {
			top = I.tip
		}
		for p := int8(0); p < top && I.rec[p].kind != 0; p++ {
			r := &I.rec[p]
			b.pos, b.tipGen = p+1, r.gen
			b.gen = max8(b.gen, r.gen)
			if r.cov > b.cov {
				b.cov = r.cov
			}
			for q := range r.res {
				if r.res[q] != 0 {
					b.res[q] = r.res[q]
					b.dur |= 1 << q
				}
			}
			if r.kind == rDONE {
				f.kill(b, stEND)
				break
			}
		}
		if b.st == stNEW {
			b.st = stLOADED
		}
		if f.admit == 2 && f.mut != mKeepAdmitted && f.mut != mRegReadFirst && i == 1 && f.call {
			b.adm = 0 // what an earlier load said about the row is void
		}
		if f.admit == 2 && I.adm == 1 {
			b.adm = 2
		}
		if f.cross && i == 0 && I.inbox != 0 && !f.inboxChk && b.st == stLOADED {
			b.res[f.callStep] = I.inbox
		}
		emit(t, "inst %d: attempt loads the journal (%d records)", i8, b.pos)
	case stLOADED: // append the attempt record
		if a.pos >= MP-1 {
			return
		}
		for _, g := range f.genChoices(s, a.gen) {
			t := *s
			b := &t.at[i][k]
			b.gen = g
			if f.mut == mRecGenOld {
				b.g0 = g
			}
			r := Rec{kind: rATT, gen: g}
			if f.append(&t, i, b, r) {
				t.hlc = max8(t.hlc, g)
				b.st = stRUN
				f.advance(&t, i, b)
				emit(t, "inst %d: attempt record, generation %d, position %d", i8, g, b.pos)
			} else {
				if f.mut == mNoReload {
					b.pos++
					b.gen = a.gen
					emit(t, "inst %d: position taken, tries the next without reading it", i8)
				} else {
					*b = Att{st: stNEW, adm: a.adm, sg: a.sg, rs: a.rs}
					emit(t, "inst %d: attempt's position is taken, loads again", i8)
				}
				break
			}
		}
	case stRUN:
		f.run(s, i, k, emit)
	}
}

func (f *Cfg) run(s *St, i, k int, emit func(St, string, ...int8)) {
	I := &s.in[i]
	a := &s.at[i][k]
	i8, k8 := int8(i), a.gen
	callee := f.call && i == 1
	put := func(kind int8, what string) bool { // append what is buffered
		if a.pos >= MP-1 && !(kind == rDONE && a.pos == MP-1) {
			return false
		}
		t := *s
		b := &t.at[i][k]
		r := f.mkrec(i, b, kind)
		if f.covRenew && r.cov > a.cov && max8(s.hlc, a.gen) < f.maxHLC {
			r.gen = max8(s.hlc, a.gen) + 1
			t.hlc = r.gen
			b.gen = r.gen
		}
		if f.append(&t, i, b, r) {
			if kind == rDONE {
				f.kill(b, stEND)
			} else if r.adm > 0 {
				b.adm = 2
			}
			emit(t, "inst %d g%d: "+what+" at position %d, covers %d", i8, k8, a.pos+1, r.cov)
		} else {
			f.kill(b, stDEAD)
			emit(t, "inst %d g%d: superseded at "+what, i8, k8)
		}
		return true
	}
	admitted := !callee || a.adm > 0
	mustFlush := (unflushed(a) && f.mut != mNoFlush) || (f.admit == 2 && callee && a.adm == 1 && f.mut != mAdmNotDurable)
	o := f.prog(i, int(a.pc), &a.res)
	// renewal
	if a.need > 0 {
		if a.pos >= MP-1 {
			return
		}
		for _, g := range f.genChoices(s, max8(a.need, a.gen)) {
			t := *s
			b := &t.at[i][k]
			b.gen = g
			r := f.mkrec(i, b, rREN)
			if f.mut == mRenewNoAppend {
				b.need = 0
				t.hlc = max8(t.hlc, g)
				emit(t, "inst %d g%d: takes generation %d without a record", i8, k8, g)
			} else if f.append(&t, i, b, r) {
				t.hlc = max8(t.hlc, g)
				if r.adm > 0 {
					b.adm = 2
				}
				b.need, b.inb = 0, 0
				emit(t, "inst %d g%d: renew{%d} at position %d", i8, k8, g, b.pos)
			} else {
				f.kill(b, stDEAD)
				emit(t, "inst %d g%d: superseded at renewal", i8, k8)
				break
			}
		}
		return
	}
	// a record just for coverage
	if f.covRec && a.pos < MP-1 && f.prefix(i, a) > a.cov && !(callee && a.adm == 0) {
		put(rRES, "coverage record")
	}
	// the queue of effects
	if a.queue != 0 && a.wait == 0 && admitted {
		q := low(a.queue)
		oq := f.prog(i, int(q), &a.res)
		if oq.k == opINV && f.cross && f.inboxChk && a.inb == 0 {
			t := *s
			b := &t.at[i][k]
			if I.row == 0 && f.mut != mInboxNoRow {
				f.kill(b, stDEAD)
			} else if I.inbox != 0 {
				b.res[q] = I.inbox
				b.queue = 0
				b.ack |= 1 << q
				f.advance(&t, i, b)
			} else {
				b.inb = 1
			}
			emit(t, "inst %d g%d: looks into its inbox: %d", i8, k8, I.inbox)
		} else if mustFlush {
			put(rRES, "results flushed")
		} else {
			t := *s
			b := &t.at[i][k]
			m := Msg{k: kW, inst: i8, step: q, gen: a.gen, cell: oq.cell, val: oq.val, exp: oq.exp}
			if oq.k == opCW {
				m.k = kCW
			}
			if oq.k == opINV {
				m = Msg{k: kSTART, gen: a.gen}
			}
			if t.send(m) {
				b.wait = 1
				emit(t, "inst %d g%d: sends step %d", i8, k8, q+1)
			}
		}
	}
	if a.wait == 1 && a.rs > 0 {
		q := low(a.queue)
		oq := f.prog(i, int(q), &a.res)
		t := *s
		b := &t.at[i][k]
		m := Msg{k: kW, inst: i8, step: q, gen: a.gen, cell: oq.cell, val: oq.val, exp: oq.exp}
		if oq.k == opCW {
			m.k = kCW
		}
		if oq.k == opINV {
			m = Msg{k: kSTART, gen: a.gen}
		}
		if t.send(m) {
			b.rs--
			emit(t, "inst %d g%d: sends step %d again", i8, k8, q+1)
		}
	}
	// the caller waits for its callee
	if a.wait == 1 && f.call && i == 0 {
		q := low(a.queue)
		if f.prog(i, int(q), &a.res).k == opINV {
			v := int8(0)
			if f.cross {
				v = I.inbox
			} else if s.in[1].row == 1 {
				if r := doneRec(&s.in[1]); r != nil {
					v = r.res[0] + 1
				}
			}
			if v != 0 {
				t := *s
				b := &t.at[i][k]
				b.res[q] = v
				b.queue, b.wait = 0, 0
				b.ack |= 1 << q
				f.advance(&t, i, b)
				emit(t, "inst %d g%d: has the callee's result %d", i8, k8, v)
			}
		}
	}
	// reads and completion
	switch o.k {
	case opR:
		if a.res[a.pc] != 0 || (!f.pipe && a.queue != 0) {
			return
		}
		for q := int8(0); q < a.pc; q++ {
			if a.queue&(1<<q) != 0 && (f.drainAll || f.prog(i, int(q), &a.res).cell == o.cell) {
				return
			}
		}
		t := *s
		b := &t.at[i][k]
		b.res[a.pc] = s.c[o.cell].val + 1
		f.advance(&t, i, b)
		emit(t, "inst %d g%d: step %d reads cell %d: %d", i8, k8, a.pc+1, o.cell, s.c[o.cell].val)
	case opEND:
		if a.queue != 0 || !admitted {
			return
		}
		if f.mut == mDoneOutside {
			t := *s
			b := &t.at[i][k]
			if I.ended > 0 && I.out != a.res {
				t.bad = 2
			}
			f.ended(&t, i, a.res) // the status row alone says done
			f.kill(b, stEND)
			emit(t, "inst %d g%d: sets the status to done, without a journal record", i8, k8)
			return
		}
		put(rDONE, "done")
	}
}
