package main

import "math/bits"

// The linked DAAL, its collector and what becomes of messages.

func (f *DCfg) collect(s *DSt, emit func(DSt, string, ...int8)) {
	for w := int8(0); w < NW; w++ {
		if s.acked&(1<<w) != 0 && s.cov&(1<<w) == 0 {
			t := *s
			t.cov |= 1 << w
			emit(t, "write %d is covered by a record of g%d", w, s.cg[w])
		}
	}
	if s.cov == 0 {
		return
	}
	path, _ := s.walk()
	tail := path[len(path)-1]
	need := int8(0)
	for w := 0; w < NW; w++ {
		if s.cov&(1<<w) != 0 {
			need = max8(need, s.cg[w])
		}
	}
	has := func(k, row int8) bool {
		for _, m := range s.m {
			if m.k == k && m.row == row {
				return true
			}
		}
		return false
	}
	// raise the fence on the tail and remove covered entries there
	if (s.r[tail].fence < need || s.r[tail].log&s.cov != 0) && !has(mPRUNE, tail) {
		t := *s
		if t.send(DMsg{k: mPRUNE, row: tail, w: int8(s.cov), g: need}) {
			emit(t, "GC sends: prune row %d, fence >= %d", tail, need)
		}
	}
	// unlink frozen rows all of whose entries are covered
	for k := 1; k+1 < len(path); k++ {
		p, a := path[k-1], path[k]
		if f.headOnly && k > 1 {
			break
		}
		if s.r[a].log&^s.cov != 0 && f.mut != dUnlinkUncovered {
			continue
		}
		g := int8(0)
		for w := 0; w < NW; w++ {
			if s.r[a].log&(1<<w) != 0 {
				g = max8(g, s.cg[w])
			}
		}
		if s.r[tail].fence < g && f.mut != dUnlinkFirst && f.mut != dUnlinkUncovered && f.mut != dFenceNoTail {
			continue
		}
		if f.mut == dFenceNoTail { // believes that any row of the cell with the fence raised will do
			up := false
			for _, q := range path {
				up = up || s.r[q].fence >= g
			}
			if !up {
				continue
			}
		}
		t := *s
		if f.marks && s.r[a].mark == 0 {
			if !has(mMARK, a) && t.send(DMsg{k: mMARK, row: a}) {
				emit(t, "GC sends: mark row %d", a)
			}
			continue
		}
		if !has(mUNL, p) && t.send(DMsg{k: mUNL, row: p, a: a, b: s.r[a].next}) {
			emit(t, "GC sends: unlink row %d, row %d.next := %d", a, p, s.r[a].next)
		}
	}
	// delete what no query reaches
	on := [NR]bool{}
	for _, q := range path {
		on[q] = true
	}
	if !f.gscan {
		for q := int8(1); q < NR; q++ {
			r := &s.r[q]
			if r.ex == 0 || on[q] || has(mDEL, q) {
				continue
			}
			if r.next == 0 && f.srcRule && !f.lost(s, q) {
				src := r.src
				if f.probe && s.r[src].ex == 1 && s.r[src].next == 0 && s.r[src].rev == r.srcRev {
					t := *s
					t.r[src].rev++
					emit(t, "GC counts up the revision of row %d, so that row %d can no longer be published", src, q)
				}
				continue
			}
			t := *s
			if t.send(DMsg{k: mDEL, row: q}) {
				emit(t, "GC sends: delete row %d (not reachable)", q)
			}
		}
		return
	}
	// the collector's own query, row by row, HEAD first
	t := *s
	if t.gscan == 0 {
		t.gscan = NR
		for q := range t.gnext {
			t.gnext[q] = -1
		}
	}
	q := NR - int(t.gscan)
	if s.r[q].ex == 1 {
		t.gnext[q] = s.r[q].next
	}
	t.gscan--
	if t.gscan > 0 {
		emit(t, "GC reads row %d in its query", int8(q))
		return
	}
	p, ok := int8(0), true
	reach := [NR]bool{}
	for {
		if t.gnext[p] < 0 {
			ok = false
			break
		}
		reach[p] = true
		if t.gnext[p] == 0 {
			break
		}
		p = t.gnext[p]
	}
	if ok {
		for q := int8(1); q < NR; q++ {
			if t.gnext[q] < 0 || reach[q] {
				continue
			}
			r := &s.r[q]
			if t.gnext[q] == 0 {
				if f.srcRule && !f.lost(s, q) { // reads the source row now, after the query
					continue
				}
			} else if f.srcRule && s.gdead&(1<<q) == 0 {
				t.gdead |= 1 << q // seen frozen: only a query that began later may condemn it
				continue
			}
			if r.ex == 1 && !has(mDEL, q) {
				t.send(DMsg{k: mDEL, row: q})
			}
		}
	}
	t.gnext = [NR]int8{}
	emit(t, "GC ends its query (chain whole: %d) and sends deletes of what it did not reach", map[bool]int8{true: 1}[ok])
}

// lost: row q, without next and not reached, can never be published any more.
func (f *DCfg) lost(s *DSt, q int8) bool {
	r := &s.r[q]
	p := &s.r[r.src]
	if p.ex == 0 {
		return false // the source row goes last
	}
	return (p.next != 0 && p.next != q) || (p.next == 0 && p.rev > r.srcRev)
}

func (f *DCfg) deliver(s *DSt, k int, emit func(DSt, string, ...int8)) {
	m := s.m[k]
	t := *s
	t.m[k] = DMsg{}
	r := &t.r[m.row]
	switch m.k {
	case mUPD:
		b := &t.s[m.who]
		bit := uint8(1) << m.w
		ans := int8(0)
		switch {
		case r.ex == 0 && f.mut != dNoExists:
			ans = 5 // gone
		case r.log&bit != 0:
			ans = 2 // duplicate
		case r.next != 0 && f.mut != dUpdNoNext:
			ans = 3 // frozen
		case m.g <= r.fence:
			ans = 4 // refused
		case bits.OnesCount8(r.log) >= f.cap && r.next == 0:
			ans = 6 // full
		default:
			if r.ex == 0 {
				*r = Row{ex: 1}
			}
			r.val = m.w + 1
			r.log |= bit
			r.rev++
			t.truth = m.w + 1
			if t.applied[m.w] < 2 {
				t.applied[m.w]++
			}
			ans = 1
		}
		if b.st == 1 && int(b.op) < len(f.ops[m.who]) && f.ops[m.who][b.op].w == m.w && b.g == m.g && b.tail == m.row {
			switch ans {
			case 1, 2:
				f.finish(&t, int(m.who))
			case 3, 5:
				b.st, b.ok = 0, 0
			case 4:
				if int8(m.who) == f.winner[m.w] && t.acked&(1<<m.w) == 0 {
					b.g = r.fence + 1 // renewal
					b.st = 0
				} else {
					f.finish(&t, int(m.who)) // superseded
				}
			case 6:
				b.st = 2
			}
		}
		emit(t, "row %d: write %d with g%d, answer %d (1 applied 2 duplicate 3 frozen 4 refused 5 gone 6 full)", m.row, m.w, m.g, ans)
	case mPUB:
		b := &t.s[m.who]
		okp := r.ex == 1 && (r.next == 0 || f.mut == dPubNoNext) && (r.rev == m.b || f.mut == dPubNoRev || f.mut == dPubNoNext)
		if okp {
			r.next = m.a
			r.rev++
			if f.atomicRoll {
				t.r[m.a] = Row{ex: 1, val: m.w, fence: m.g, src: m.row, srcRev: m.b}
			}
		}
		if b.st == 4 && b.nid == m.a {
			b.st = 0
			if okp {
				b.tail = m.a
				b.frozen |= b.clog
				if f.mut == dFrozenStale {
					b.frozen &^= b.clog
				}
				if f.mut == dNoFrozenSet {
					b.frozen = 0
				}
			} else {
				b.ok = 0
			}
			b.nid, b.cval, b.cfence, b.crev, b.clog = 0, 0, 0, 0, 0
		}
		if okp {
			emit(t, "row %d is published on row %d", m.a, m.row)
		} else {
			emit(t, "publish of row %d on row %d fails", m.a, m.row)
		}
	case mPRUNE:
		if r.ex == 1 && (r.next == 0 || f.mut == dFenceNoTail) {
			if r.next == 0 {
				r.log &^= uint8(m.w)
			}
			if f.mut != dPruneNoRaise {
				r.fence = max8(r.fence, m.g)
			}
			if f.mut != dPruneNoRev {
				r.rev++
			}
			emit(t, "row %d: covered entries removed, fence %d", m.row, r.fence)
		} else {
			emit(t, "prune of row %d fails", m.row)
		}
	case mUNL:
		if r.ex == 1 && r.next == m.a && r.mark == 0 {
			r.next = m.b
			emit(t, "row %d is unlinked: row %d.next = %d", m.a, m.row, m.b)
		} else {
			emit(t, "unlink of row %d fails", m.a)
		}
	case mMARK:
		if r.ex == 1 && r.next != 0 {
			r.mark = 1
		}
		emit(t, "row %d is marked: its next stays", m.row)
	case mDEL:
		if f.srcRule {
			// the source of a row that is still there goes last
			for q := range s.r {
				if s.r[q].ex == 1 && s.r[q].src == m.row && s.r[q].next == 0 && q != 0 && m.row != 0 {
					if p, _ := s.walk(); p[len(p)-1] != int8(q) {
						t.m[k] = m
						return
					}
				}
			}
		}
		*r = Row{}
		t.gdead &^= 1 << m.row
		emit(t, "row %d is deleted", m.row)
	case mPUT:
		if r.ex == 0 {
			*r = Row{ex: 1, val: m.w, fence: m.g, src: m.a, srcRev: m.b}
			emit(t, "repeated put: row %d is there again", m.row)
		} else {
			emit(t, "repeated put of row %d finds it", m.row)
		}
	}
}
