package main

// The core model, what becomes of messages.

func (f *Cfg) deliver(s *St, k int, emit func(St, string, ...int8)) {
	m := s.m[k]
	t := *s
	t.m[k] = Msg{}
	switch m.k {
	case kW, kCW:
		x := &t.c[m.cell]
		bit := uint8(1) << (int(m.inst)*MS + int(m.step))
		ans := int8(0) // 1 refused; 2 false; 3 true
		switch {
		case x.log&bit != 0:
			ans = 2
			if x.out&bit != 0 {
				ans = 3
			}
		case m.gen <= x.fence && f.mut != mIgnoreFence:
			ans = 1
		default:
			okv := m.k == kW || x.val == m.exp
			if okv {
				x.val = m.val
				if t.in[m.inst].applied[m.step] < 2 {
					t.in[m.inst].applied[m.step]++
				}
				ans = 3
			} else {
				ans = 2
			}
			if f.mut == mLogNotAtomic {
				t.send(Msg{k: kLOG, inst: m.inst, step: m.step, cell: m.cell})
			} else if okv || f.mut != mFalseNotLogged {
				x.log |= bit
				if f.mut == mPruneEntryGen {
					x.eg[int(m.inst)*MS+int(m.step)] = m.gen
				}
				if okv {
					x.out |= bit
				}
			}
		}
		for q := range t.at[m.inst] {
			b := &t.at[m.inst][q]
			if b.st == stRUN && b.wait == 1 && b.gen == m.gen && low(b.queue) == m.step {
				b.wait = 0
				if ans == 1 {
					b.need = x.fence
				} else {
					b.queue &^= 1 << m.step
					b.ack |= 1 << m.step
					if m.k == kCW {
						b.res[m.step] = ans - 1
					}
					f.advance(&t, int(m.inst), b)
				}
			}
		}
		emit(t, "store: inst %d step %d with g%d on cell %d: answer %d (1 refused, 2 false/duplicate, 3 applied)", m.inst, m.step+1, m.gen, m.cell, ans)
	case kLOG:
		t.c[m.cell].log |= 1 << (int(m.inst)*MS + int(m.step))
		emit(t, "log entry of inst %d step %d", m.inst, m.step+1)
	case kSTART:
		I := &t.in[1]
		fresh := I.row == 0
		slot := -1
		live := 0
		for q := range t.at[1] {
			if t.at[1][q].st == stFREE {
				slot = q
			} else {
				live++
			}
		}
		adm := int8(0)
		if f.admit == 3 && fresh && m.gen <= s.regF {
			for q := range t.at[0] {
				b := &t.at[0][q]
				if b.st == stRUN && b.wait == 1 && b.queue == 1<<f.callStep && b.gen == m.gen {
					b.need, b.wait = max8(s.regF, 1), 0
				}
			}
			emit(t, "Start g%d is refused: registry fence %d", m.gen, s.regF)
			return
		}
		if f.admit == 3 {
			adm = 1
		}
		if fresh {
			I.row, I.gc = 1, m.gen
			I.tip, I.tipGen, I.adm = 0, 0, 0
		} else if doneRec(I) != nil {
			emit(t, "Start g%d finds the callee done", m.gen)
			return
		}
		u := t
		if slot >= 0 && live < f.atts[1] {
			t.at[1][slot] = Att{st: stNEW, adm: adm, sg: m.gen, rs: f.resend}
			emit(t, "Start g%d is registered (or finds the row) and an attempt is decided on", m.gen)
		} else if fresh {
			emit(u, "Start g%d is registered, its sidecar stalls", m.gen)
		}
	case kCB:
		if t.in[0].row == 1 && t.in[0].inbox == 0 {
			t.in[0].inbox = m.val
		}
		g := int8(0)
		if f.mut == mAckGenFirst {
			// the generation was read before the inbox was written: offer that too
			for p := range s.in[0].rec {
				g = max8(g, s.in[0].rec[p].gen)
			}
			u := *s
			u.m[k] = Msg{k: kGEN, val: m.val, gen: g}
			emit(u, "caller's realm reads its generation %d first", g)
			return
		}
		t.send(Msg{k: kGEN})
		emit(t, "callback: result into the caller's inbox")
	case kGEN:
		if f.mut == mAckGenFirst {
			if t.in[0].row == 1 && t.in[0].inbox == 0 {
				t.in[0].inbox = m.val
			}
			t.send(Msg{k: kACK, gen: m.gen})
			emit(t, "inbox written, answer g%d", m.gen)
			return
		}
		g := int8(0)
		for p := range s.in[0].rec {
			g = max8(g, s.in[0].rec[p].gen)
		}
		if s.in[0].row == 0 {
			if !f.fenceDone {
				return
			}
			g = s.shF
		}
		t.send(Msg{k: kACK, gen: g})
		emit(t, "caller's realm answers with its generation %d", g)
	case kACK:
		t.in[1].ack = max8(t.in[1].ack, m.gen)
		emit(t, "callee's realm has the acknowledgement g%d", m.gen)
	}
}
