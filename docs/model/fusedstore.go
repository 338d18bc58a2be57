package main

// The fused protocol, the store's side: conditions, effects, answers; and the collector.

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
		case f.out == outEpoch && m.e1 != s.epoch && f.mut != uNoEpoch:
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
				I.stamp = m.e1
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
		if f.mut == uRenewRun {
			b.g, b.e1, b.w = t.epoch, t.epoch, 0
			return
		}
	case fFENCE:
		if f.mut == uRenewRun {
			b.g, b.w = t.epoch, 0
			return
		}
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
