package main

func progMix(i, s int, r *[MS]int8) Op { // 0: read x; write y or z by it; read y; write x.   1: write x; write y
	if i == 1 {
		switch s {
		case 0:
			return Op{k: opW, cell: 0, val: 1}
		case 1:
			return Op{k: opW, cell: 1, val: 3}
		}
		return Op{k: opEND}
	}
	switch s {
	case 0:
		return Op{k: opR, cell: 0}
	case 1:
		if r[0] == 1 {
			return Op{k: opW, cell: 1, val: 1}
		}
		return Op{k: opW, cell: 2, val: 2}
	case 2:
		return Op{k: opR, cell: 1}
	case 3:
		return Op{k: opW, cell: 0, val: r[2] + 1}
	}
	return Op{k: opEND}
}

func progReads(i, s int, r *[MS]int8) Op { // 0: read x; read y.   1: write x; write y
	if i == 1 {
		return progMix(i, s, r)
	}
	if s < 2 {
		return Op{k: opR, cell: int8(s)}
	}
	return Op{k: opEND}
}

func progFCall(i, s int, r *[MS]int8) Op { // 0: read x; invoke; write y := its result.   1, 2: read x; write x := x+1
	if i > 0 {
		return progInc(i, s, r)
	}
	switch s {
	case 0:
		return Op{k: opR, cell: 0}
	case 1:
		return Op{k: opINV}
	case 2:
		return Op{k: opW, cell: 1, val: r[1]}
	}
	return Op{k: opEND}
}

func progDel(i, s int, r *[MS]int8) Op { // 0: x 1->2?; write y by the outcome.   1: delete x; write x := 3
	if i == 1 {
		switch s {
		case 0:
			return Op{k: opD, cell: 0}
		case 1:
			return Op{k: opW, cell: 0, val: 3}
		}
		return Op{k: opEND}
	}
	switch s {
	case 0:
		return Op{k: opCW, cell: 0, val: 2, exp: 1}
	case 1:
		return Op{k: opW, cell: 1, val: r[0]}
	}
	return Op{k: opEND}
}

func progWCond(i, s int, r *[MS]int8) Op { // 0: write x; y 1->2?   1: write y := 1; x 0->2?
	switch s {
	case 0:
		return Op{k: opW, cell: int8(i), val: 1}
	case 1:
		return Op{k: opCW, cell: int8(1 - i), val: 2, exp: int8(1 - i)}
	}
	return Op{k: opEND}
}

func fused(name, want, note string, f FCfg) {
	runs = append(runs, Run{name, want, note, func(limit int) Result { return Explore(fusedModel(&f), limit) }})
}

func fwith(f FCfg, g func(*FCfg)) FCfg { g(&f); return f }

func registerFused() {
	// --- one request: runs 0 and 1 of it (a client asked twice), a take-over, forgetting, a second life
	base := FCfg{n: 1, prog: progInc, runs: [FI]int8{3}, takes: [FI]int8{1}, resend: 1, forget: true, again: true, out: outEpoch, envOut: true}
	fused("F/inc", "ok", "three runs of a request and a take-over, asked for again once forgotten", base)
	fused("F/inc-cut", "ok", "two runs; batches cut anywhere, registration at any time", fwith(base, func(f *FCfg) { f.any, f.bare, f.runs, f.net, f.envOut = true, true, [FI]int8{2}, 2, false }))
	ticks := fwith(base, func(f *FCfg) { f.ticks, f.envOut = 2, false })
	fused("L/ticks", "ok", "the epoch also rises by itself: runs of several epochs", ticks)
	fused("L/ticks-bare", "ok", "registration at any time", fwith(ticks, func(f *FCfg) { f.bare, f.net, f.runs = true, 2, [FI]int8{2} }))
	wrw := fwith(base, func(f *FCfg) { f.prog, f.runs, f.net = progWRW, [FI]int8{2}, 2 })
	cut := fwith(wrw, func(f *FCfg) { f.any = true })
	fused("F/wrw", "ok", "write, read, write; registration at any time", fwith(wrw, func(f *FCfg) { f.bare = true }))
	fused("F/wrw-cut", "ok", "batches cut anywhere", cut)
	fused("F/wrw-takes", "ok", "two take-overs, no second life", fwith(cut, func(f *FCfg) { f.takes, f.again, f.envOut, f.any = [FI]int8{2}, false, false, false }))
	// --- two requests at once
	two := fwith(base, func(f *FCfg) {
		f.n, f.runs, f.takes, f.again, f.envOut = 2, [FI]int8{2, 2}, [FI]int8{1, 1}, false, false
	})
	fused("F/two", "ok", "two instances increment one cell", fwith(two, func(f *FCfg) { f.net = 2 }))
	other := fwith(two, func(f *FCfg) { f.runs, f.takes = [FI]int8{2, 1}, [FI]int8{1, 0} })
	branch := fwith(other, func(f *FCfg) { f.prog, f.any, f.net, f.runs[0] = progBranch, true, 2, 1 })
	fused("F/branch-cut", "ok", "branch on a read, another instance writes the cell; batches cut anywhere", branch)
	fused("F/branch-early", "ok", "registration at any time", fwith(branch, func(f *FCfg) { f.any, f.bare, f.runs[0] = false, true, 2 }))
	mix := fwith(other, func(f *FCfg) { f.prog = progMix })
	fused("F/mix", "ok", "branch on a read, a read after a write; another instance writes both cells", mix)
	sb := fwith(other, func(f *FCfg) { f.prog = progSB })
	fused("F/storebuffer", "ok", "write x, read y beside write y, read x", sb)
	reads := fwith(other, func(f *FCfg) { f.prog = progReads })
	fused("F/reads", "ok", "an instance without effects: one batch, every client gets the same", reads)
	// --- conditional writes
	cond := fwith(other, func(f *FCfg) { f.prog, f.init = progCond, [MC]int8{1} })
	fused("F/cond", "ok", "the store judges the condition within the batch", cond)
	del := fwith(other, func(f *FCfg) { f.prog, f.init, f.opt = progDel, [MC]int8{1}, true })
	fused("F/cond-opt", "ok", "the sidecar judges, the batch asks for the cell's revision; deleted and written again", del)
	wcond := fwith(two, func(f *FCfg) { f.prog, f.opt, f.runs, f.takes = progWCond, true, [FI]int8{1, 1}, [FI]int8{1, 0} })
	fused("F/cond-queue", "ok", "a condition behind a queued write of another cell", wcond)
	read := func(f *FCfg) { f.falseIsRead = true }
	fused("F/cond-opt-read", "ok", "a false outcome behind an empty queue is a read", fwith(del, read))
	fused("F/cond-queue-read", "ok", "", fwith(wcond, read))
	// --- invokes: the caller's batch inserts the callee's row
	call := fwith(base, func(f *FCfg) {
		f.n, f.prog, f.runs, f.takes, f.call, f.callStep, f.ids = 2, progFCall, [FI]int8{2}, [FI]int8{1, 2, 1}, true, 1, true
		f.envOut, f.net = false, 2
	})
	fused("F/call", "ok", "caller and callee, both forgotten, asked for again; callee ids name the caller's life", fwith(call, func(f *FCfg) { f.resend = 0; f.takes[0] = 0 }))
	once := fwith(call, func(f *FCfg) { f.again = false })
	fused("F/call-once", "ok", "one life, take-overs of both, batches sent twice, other callees forgotten", fwith(once, func(f *FCfg) { f.envReg = true; f.runs[0], f.takes[1] = 1, 1 }))
	fused("F/call-callee", "ok", "two take-overs of the callee", fwith(once, func(f *FCfg) { f.runs[0], f.takes[0] = 1, 0 }))
	fused("F/call-same-id", "bad", "a callee's id is made of caller and step only: the second life gets the first one's result", fwith(call, func(f *FCfg) { f.ids = false; f.resend = 0; f.takes[0] = 0 }))
	// --- the registry fence of requests from outside
	text := fwith(base, func(f *FCfg) { f.out, f.again, f.envOut, f.runs = outText, false, false, [FI]int8{2} })
	fused("L/fence-text", "bad", "R10: the fence goes to the row's own generation, a run begun later inserts afterwards", text)
	fused("L/fence-clock", "ok", "the fence goes to a new generation of the one clock (refuses every run under way)", fwith(base, func(f *FCfg) { f.out = outClock }))
	fused("L/fence-clock-skew", "bad", "the same with clocks that differ", fwith(base, func(f *FCfg) { f.out, f.skew = outClock, true }))
	fused("L/forget-in-steps", "bad", "fence, row, journal one after another: a new life between loses its journal", fwith(base, func(f *FCfg) { f.steps = true }))
	fused("L/forget-in-steps-once", "ok", "the same where ids never come back", fwith(base, func(f *FCfg) { f.steps, f.again = true, false }))
	// --- savings
	lean := func(f *FCfg) { f.lean = true }
	fused("var/F/lean-wrw", "ok", "take-overs append no attempt record", fwith(wrw, lean))
	fused("var/F/lean-mix", "ok", "", fwith(mix, lean))
	fused("var/F/lean-wrw-cut", "ok", "", fwith(cut, lean))
	fused("var/F/lean-cond-opt", "ok", "", fwith(del, lean))
	fused("var/F/lean-call", "ok", "", fwith(once, func(f *FCfg) { f.lean, f.envReg, f.runs[0] = true, true, 1 }))
	fused("var/F/no-registry-fence", "ok", "callees go in without a look at the registry fence", fwith(call, func(f *FCfg) { f.noReg = true; f.takes[0], f.takes[1] = 0, 1 }))
	fused("var/F/no-registry-fence-lean", "ok", "and take-overs append nothing", fwith(once, func(f *FCfg) { f.noReg, f.lean = true, true; f.runs[0] = 1 }))
	fused("var/F/lost-is-superseded", "ok", "one's own lost answer is taken for supersession: safe", fwith(mix, func(f *FCfg) { f.mut = uLostSuper }))
	alone := fwith(base, func(f *FCfg) {
		f.prog, f.runs, f.takes, f.again, f.forget, f.stuck = progWRW, [FI]int8{2}, [FI]int8{0}, false, false, true
	})
	fused("F/alone", "ok", "no take-overs: a run whose answers come, or can be asked for, always ends", alone)
	// --- mutations
	m := func(name, note string, f FCfg, mut int) { f.mut = mut; fused("mut/F/"+name, "bad", note, f) }
	m("no-tip", "a batch asks only that the row is there", mix, uNoTip)
	m("not-atomic", "effects are applied although the append was refused", mix, uNotAtomic)
	m("no-results", "the record leaves the buffered results out", branch, uNoResults)
	m("no-outcome", "the outcome of a conditional write is not in the record, a replay judges again", cond, uNoOutcome)
	m("run-on", "a run whose insert was refused goes on", mix, uRunOn)
	m("insert-over", "the insert overwrites a row that is there", mix, uInsertOver)
	m("no-fence", "the insert does not ask for the registry fence", base, uNoFence)
	m("early-answer", "the client is answered before done is durable", reads, uEarlyAnswer)
	m("forget-order", "the row goes before the fence is raised", fwith(base, func(f *FCfg) { f.steps = true; f.again = false }), uForgetOrder)
	m("run-again", "a run refused by the fence starts over by itself", fwith(text, func(f *FCfg) { f.out = outClock }), uRerun)
	m("run-renews", "a run refused by the fence inserts its row under a newer generation", fwith(base, func(f *FCfg) { f.again = false }), uRenewRun)
	m("epoch-not-asked", "the insert does not ask for the epoch that it stamps the row with", ticks, uNoEpoch)
	m("look-first", "the row is looked for before the epoch is read", base, uLookFirst)
	m("grown", "no answer: more is sent under the same nonce", fwith(cut, func(f *FCfg) { f.prog = progMix }), uGrown)
	m("no-drain", "a read passes queued writes", sb, uNoDrain)
	m("revision-restarts", "revisions begin again after a deletion", del, uRevRestart)
	m("false-early", "a false outcome waits in the buffer although writes are queued", wcond, uFalseEarly)
	m("settle-by-position", "a lost answer is settled by the tip's position, not by its nonce", mix, uSettlePos)
	m("lost-superseded-stuck", "one's own lost answer is taken for supersession: nobody goes on until the lease runs out", alone, uLostSuper)
	m("position-only", "the tip's position is asked for, not its nonce; the positions of a second life are the first one's", cut, uPosOnly)
	fused("var/F/position-only-once", "ok", "the same where ids never come back: no harm found", fwith(mix, func(f *FCfg) { f.mut = uPosOnly }))
}
