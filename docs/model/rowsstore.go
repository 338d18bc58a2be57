package main

import "math/bits"

// Numbered rows, their collector and what becomes of messages.

func (f *QCfg) collect(s *QSt, emit func(QSt, string, ...int8)) {
	for w := int8(0); w < QW; w++ {
		if s.acked&(1<<w) != 0 && s.cov&(1<<w) == 0 {
			t := *s
			t.cov |= 1 << w
			emit(t, "write %d is covered by a record of g%d", w, s.cg[w])
		}
	}
	tail := s.top()
	if s.cov == 0 || tail < 0 {
		return
	}
	need := func(log uint8) (g int8) {
		for w := 0; w < QW; w++ {
			if log&(1<<w) != 0 {
				g = max8(g, s.cg[w])
			}
		}
		return
	}
	R := &s.r[tail]
	g := need(s.cov)
	if (R.fence < g || R.log&s.cov != 0) && !s.has(qPRUNE, tail) {
		t := *s
		if t.send(QMsg{k: qPRUNE, row: tail, w: int8(s.cov), g: g}) {
			emit(t, "GC sends: prune row %d, fence >= %d", tail, g)
		}
	}
	up := func(log uint8) bool { // the fence that answers for these entries has been raised
		switch f.mut {
		case qDelFirst:
			return true
		case qPruneFrozen: // believes that any row with the fence raised will do
			for q := range s.r {
				if s.r[q].ex == 1 && s.r[q].fence >= need(log) {
					return true
				}
			}
			return false
		}
		return R.fence >= need(log)
	}
	first := true
	for q := int8(0); q < tail; q++ {
		r := &s.r[q]
		if r.ex == 0 {
			continue
		}
		free := (r.log&^s.cov == 0 || f.mut == qDelUncovered) && (r.log == 0 || up(r.log&s.cov))
		if q == 0 && f.mut != qDel0 {
			if free && !f.keep0 && (r.log != 0 || r.val != 0) && !s.has(qEMPTY, 0) {
				t := *s
				if d := (QMsg{k: qEMPTY, life: r.life}); t.send(d) {
					if f.delDup {
						t.send(d)
					}
					emit(t, "GC sends: empty row 0")
				}
			}
			continue
		}
		if free && (first || f.anyOrder) && !s.has(qDEL, q) {
			t := *s
			if d := (QMsg{k: qDEL, row: q, life: r.life}); t.send(d) {
				if f.delDup {
					t.send(d)
				}
				emit(t, "GC sends: delete row %d", q)
			}
		}
		first = false
	}
	if f.remove > 0 && R.val == 0 && R.log == 0 && R.frz == 0 && R.rev > 0 && !s.has(qREMOVE, tail) {
		for q := int8(0); q < tail; q++ {
			if s.r[q].ex == 1 && (q > 0 || s.r[q].log != 0) {
				return
			}
		}
		t := *s
		if t.send(QMsg{k: qREMOVE, row: tail, b: R.rev, life: R.life}) {
			if f.remove == 2 && f.mut != qFloorNotRaised {
				t.floor = max8(t.floor, R.fence)
			}
			emit(t, "GC raises the floor to %d and sends: remove the cell (rows 0 and %d) at rev %d", t.floor, tail, R.rev)
		}
	}
}

func (f *QCfg) deliver(s *QSt, k int, emit func(QSt, string, ...int8)) {
	m := s.m[k]
	t := *s
	t.m[k] = QMsg{}
	r := &t.r[m.row]
	apply := func() {
		r.val = 0
		for i := range f.ops {
			for _, o := range f.ops[i] {
				if o.w == m.w {
					r.val = o.val
				}
			}
		}
		r.log |= 1 << m.w
		r.rev++
		t.truth = r.val
		if t.applied[m.w] < 2 {
			t.applied[m.w]++
		}
	}
	life := func(drop int) bool { return !f.lifeCond || m.life == 0 || m.life == r.life || f.mut == drop }
	switch m.k {
	case qUPD:
		b := &t.s[m.who]
		bit := uint8(1) << m.w
		ans := int8(0)
		mine := b.st == 1 && int(b.op) < len(f.ops[m.who]) && f.ops[m.who][b.op].w == m.w && b.g == m.g && b.tail == m.row && (b.ok == 1 || m.a == 1)
		if r.ex == 0 && m.a == 1 && f.remove != 2 {
			*r = QRow{ex: 1} // row 0 is made by the first write
		}
		switch {
		case r.ex == 0 && f.mut != qNoExists, !life(qUpdNoLife):
			ans = 5 // gone
		case m.b > 0 && (r.rev != m.b-1 || r.frz == 1):
			ans = 7 // changed
		case m.b > 0:
			apply()
			ans = 1
		case r.log&bit != 0 && f.mut != qUpdNoLog:
			ans = 2 // duplicate
		case r.frz == 1 && f.mut != qUpdNoFrozen:
			ans = 3 // frozen
		case m.g <= r.fence && f.mut != qUpdNoFence:
			ans = 4 // refused
		case bits.OnesCount8(r.log) >= f.cap:
			ans = 6 // full
		default:
			r.ex = 1
			apply()
			ans = 1
		}
		if mine {
			if m.a == 1 && ans != 3 && ans != 5 {
				b.ok, b.tail, b.life = 1, 0, 0
			}
			switch ans {
			case 1, 2:
				if f.byRev {
					b.forget()
				}
				f.finish(&t, int(m.who))
			case 3, 7:
				b.forget()
			case 4:
				if f.byRev {
					b.forget()
				}
				f.refused(&t, int(m.who), r.fence)
			case 5:
				if m.a == 1 && f.remove == 2 {
					b.st = 5
				} else {
					b.cold = 0
					b.forget()
				}
			case 6:
				b.st = 2
			}
		}
		emit(t, "row %d: write %d with g%d, answer %d (1 applied 2 duplicate 3 frozen 4 refused 5 gone 6 full 7 changed)", m.row, m.w, m.g, ans)
	case qROLL, qFREEZE:
		b := &t.s[m.who]
		n := &t.r[m.row+1]
		ok := r.ex == 1 && r.frz == 0 && n.ex == 0 && r.rev == m.b
		if f.mut == qRollNoRev {
			ok = r.ex == 1 && r.frz == 0 && n.ex == 0
		}
		if f.mut == qRollApart { // the put alone is conditional on absence only, the freeze follows as a message of its own
			ok = n.ex == 0
		}
		ok = ok && life(qRollNoLife)
		if m.k == qFREEZE {
			if r.ex == 1 {
				r.frz = 1
			}
			emit(t, "row %d is frozen", m.row)
			return
		}
		if ok {
			rev := m.b + 1
			if f.noCarry {
				rev = 0
			}
			if f.mut == qRollApart {
				t.send(QMsg{k: qFREEZE, who: m.who, row: m.row})
			} else {
				r.frz = 1
				r.rev++
			}
			*n = QRow{ex: 1, val: m.w, fence: m.g, rev: rev, life: m.life}
			if f.mut == qCopyNoFence {
				n.fence = 0
			}
		}
		if b.st == 4 && b.tail == m.row && b.crev == m.b && b.clife == m.life {
			if ok {
				fr := b.frozen | b.clog
				if f.mut == qStaleFrozen {
					fr = b.frozen
				}
				if f.mut == qNoFrozenSet {
					fr = 0
				}
				b.forget()
				b.ok, b.tail, b.frozen = 1, m.row+1, fr
				if f.lifeCond {
					b.life = m.life
				}
				if f.byRev {
					b.cval, b.cfence, b.crev, b.clife = n.val, n.fence, n.rev, n.life
				}
			} else {
				b.forget()
			}
		}
		emit(t, "roll-over of row %d at rev %d: %d", m.row, m.b, map[bool]int8{true: 1}[ok])
	case qPRUNE:
		okp := r.ex == 1 && r.frz == 0
		if f.mut == qPruneFrozen {
			okp = r.ex == 1
		}
		if f.mut == qPruneUpsert {
			okp = r.frz == 0
			if r.ex == 0 {
				*r = QRow{ex: 1}
			}
		}
		if okp {
			if r.frz == 0 {
				r.log &^= uint8(m.w)
			}
			if f.mut != qPruneNoRaise {
				r.fence = max8(r.fence, m.g)
			}
			if f.mut != qPruneNoRev {
				r.rev++
			}
		}
		emit(t, "prune of row %d: %d, fence %d", m.row, map[bool]int8{true: 1}[okp], r.fence)
	case qDEL:
		if r.ex == 1 && (r.frz == 1 || f.mut == qDelNoLife) && life(qDelNoLife) {
			*r = QRow{}
		}
		emit(t, "delete of row %d", m.row)
	case qEMPTY:
		if r.ex == 1 && r.frz == 1 && life(qDelNoLife) {
			r.log, r.val, r.fence = 0, 0, 0
		}
		emit(t, "row 0 is emptied")
	case qREMOVE:
		ok := r.ex == 1 && r.frz == 0 && (r.rev == m.b || f.mut == qRemoveNoRev) && life(-1)
		if ok {
			*r = QRow{}
			t.r[0] = QRow{}
		}
		emit(t, "removal of the cell: %d", map[bool]int8{true: 1}[ok])
	case qCREATE:
		b := &t.s[m.who]
		ok := t.r[0].ex == 0 && (s.floor == m.b || f.mut == qFloorNotAtomic)
		if ok {
			t.made++
			*r = QRow{ex: 1, fence: m.b}
			if f.lifeCond {
				r.life = m.g // the creator's generation is above the floor, hence above every earlier life
			}
			if f.mut == qNewFenceZero {
				r.fence = 0
			}
			apply()
		}
		if b.st == 6 && b.g == m.g && b.floor == m.b && int(b.op) < len(f.ops[m.who]) && f.ops[m.who][b.op].w == m.w {
			if ok {
				b.ok, b.tail, b.life, b.floor = 1, 0, 0, 0
				f.finish(&t, int(m.who))
			} else {
				b.cold, b.floor = 0, 0
				b.forget()
			}
		}
		emit(t, "creation of row 0 by write %d: %d", m.w, map[bool]int8{true: 1}[ok])
	}
}
