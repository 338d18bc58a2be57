package intent

import (
	"fmt"

	"github.com/beldi/beldi/daal"
)

// machine is one attempt of an instance: the protocol's rules R1–R7, R9, R11, R13 as a state machine. Messages go in (step, observed, committed,
// …), actions come out. It does no I/O, reads no clock, draws no random number and starts no goroutine; whoever drives it (attempt.go, or a test)
// calls one method at a time and then takes the actions.
//
// Two modes, by the store's scope. Fused (one scope, docs/decisions/0001): a commit is one atomic batch of a record and the effects that it
// covers. Logged: records and effects go one at a time, effects are named in the log of their cell.
type machine struct {
	fused bool

	tip tip
	gen daal.Generation
	// registration is set until the instance's row is in the store: the first append inserts it (docs/decisions/0002).
	registration *Registration
	admission    admission
	// eager: register before the first effect.
	eager bool
	// quiet: steps without a result are not answered.
	quiet bool

	// recorded is what earlier attempts left in the journal (R4).
	recorded map[daal.Step]*entry
	// seen holds the steps of this attempt: a name stands for one operation.
	seen map[daal.Step]struct{}
	// running holds the BeginRecord steps whose code runs now.
	running map[daal.Step]*entry

	// unsaid is what no record holds yet: results (R1) and, logged, effects that were answered (R7).
	unsaid  []*entry
	results int // how many of unsaid are results

	queue   []*effect
	issued  uint64 // number of the last effect that was queued
	drained uint64 // all effects up to this one are answered
	held    []observation
	linger  lingering

	busy bool // a commit, a fence read: one at a time
	end  *Result
	over bool

	out []action
}

// effect is an operation that others can observe, on its way to the store.
type effect struct {
	number uint64
	entry  *entry
	op     *Op
	callee *Registration // Invoke, Start
	again  bool          // Invoke: it was registered before, and is not there
}

// waits: the function waits for its answer, so there is nothing to collect it with.
func (e *effect) waits() bool { return e.op.Kind != OpWrite && e.op.Kind != OpDelete }

// observation is a read that waits until the effects before it are answered (R13).
type observation struct {
	entry *entry
	op    *Op
	after uint64
}

type admission uint8

const (
	admUnknown admission = iota // the registry fence has not been read by this attempt
	admSeen                     // read after the attempt record was in the chain; the next append says so
	admSaid                     // durable, or the insert and the check were one operation
)

type lingering uint8

const (
	lingerNo lingering = iota
	lingerAsked
	lingerOver
)

// Most effects, and bytes of values, that one fused commit takes.
const (
	maxBatch      = 256
	maxBatchBytes = 2 << 20
)

// actionKind is what the machine wants done.
type actionKind uint8

const (
	actReply     actionKind = iota + 1 // answer a step
	actObserve                         // read the store: answered by observed
	actWait                            // wait for an instance's result: answered by observed
	actLaunch                          // a callee was registered: run it
	actCommit                          // write the store: answered by committed
	actReadFence                       // read the registry fence of this instance: answered by fenceRead
	actLinger                          // a moment later, call lingered
	actEnd                             // the attempt is over
)

type action struct {
	kind    actionKind
	entry   *entry // reply, observe, wait
	op      *Op
	outcome *Outcome
	commit  *commit
	callee  *Registration
	err     error   // end: nil if done
	result  *Result // end: what was made durable
}

// commit is one write of the store. Fused: record and effects in one batch. Logged: either the record or one effect.
type commit struct {
	kind    recordKind // 0: no record
	entries []*entry
	effects []*effect
	// insert: the record registers the instance.
	insert *Registration
	admit  bool // say `admitted`
	result *Result
	tip    tip
	gen    daal.Generation
	// renewAbove: the record carries a new generation above this one (R9).
	renewAbove daal.Generation
}

func (c *commit) input() *daal.Value {
	if c.insert == nil {
		return nil
	}
	return &c.insert.Input
}

// committed is what became of a commit.
type committed struct {
	tip      tip // as it is now
	gen      daal.Generation
	outcomes []daal.Outcome // of the effects on cells, in order of commit.effects; zero for the others
	// fenced (logged): the effect was refused by the cell's fence, nothing happened (R9).
	fenced daal.Generation
	// err: the attempt cannot go on (ErrSuperseded, *NonDeterminism, a context that ended).
	err error
}

// newMachine starts an attempt of an instance that is not in the store.
func newMachine(fused bool, g *Registration, gen daal.Generation) *machine {
	return &machine{fused: fused, registration: g, gen: gen, seen: map[daal.Step]struct{}{}}
}

// resumeMachine starts an attempt whose own attempt record is the tip of the journal.
func resumeMachine(fused bool, records []*record, at tip, admitted bool) *machine {
	m := &machine{fused: fused, tip: at, gen: at.Gen, seen: map[daal.Step]struct{}{}}
	if fused || admitted {
		m.admission = admSaid
	}
	for _, r := range records {
		for i := range r.Entries {
			e := r.Entries[i]
			if m.recorded == nil {
				m.recorded = map[daal.Step]*entry{}
			}
			if old := m.recorded[e.Step]; old != nil { // an invoke: registered in one record, its result in a later one
				merged := *e
				merged.Effect = merged.Effect || old.Effect
				e = &merged
			}
			m.recorded[e.Step] = e
		}
	}
	return m
}

// take returns the actions since the last call, in order.
func (m *machine) take() []action {
	out := m.out
	m.out = nil
	return out
}

func (m *machine) do(a action) { m.out = append(m.out, a) }

func (m *machine) reply(e *entry, o *Outcome) { m.do(action{kind: actReply, entry: e, outcome: o}) }

// accept tells the function that a step without a result was taken. Workers on a stream do not want to hear it.
func (m *machine) accept(e *entry, o *Outcome) {
	if !m.quiet {
		m.reply(e, o)
	}
}

var accepted, acceptedBefore = &Outcome{OK: true}, &Outcome{OK: true, Replayed: true}

// step takes one operation of the function. draw gives what Now, Random and UUID return.
func (m *machine) step(req *StepRequest, draw func(OpKind) daal.Value) {
	if m.over || m.end != nil {
		return // the function goes on after its end, or ends twice: the first end counts
	}
	op := &req.Op
	switch op.Kind {
	case OpComplete:
		m.end = &Result{Value: op.Value}
		return
	case OpFail:
		m.end = &Result{Failure: op.Failure}
		return
	case OpCrash:
		m.stop(&crashed{op.Message, op.Trace})
		return
	}
	e := nameOp(req.Step, op)
	if op.Kind == OpEndRecord {
		m.endRecord(e, op)
		return
	}
	if _, twice := m.seen[req.Step]; twice {
		m.reply(e, &Outcome{Err: &Malformed{fmt.Sprintf("step %q was used before in this attempt", req.Step)}})
		return
	}
	m.seen[req.Step] = struct{}{}
	if old := m.recorded[req.Step]; old != nil {
		if !same(old, e) {
			m.diverge(old, e)
			return
		}
		if old.Result {
			o := *old.Outcome
			o.Replayed = true
			m.reply(e, &o)
			return
		}
		switch op.Kind { // covered without a result (R7)
		case OpWrite, OpDelete:
			m.accept(e, acceptedBefore)
			return
		case OpInvoke:
			// It is registered; its result is an observation (R13).
			e.Outcome = &Outcome{Instance: old.Outcome.Instance}
			m.held = append(m.held, observation{e, op, m.issued})
			m.release()
			return
		}
	}
	switch op.Kind {
	case OpNow, OpRandom, OpUUID:
		m.result(e, &Outcome{OK: true, Value: draw(op.Kind)})
	case OpRead, OpList, OpAwait:
		m.held = append(m.held, observation{e, op, m.issued})
		m.release()
	default:
		m.issued++
		m.queue = append(m.queue, &effect{number: m.issued, entry: e, op: op})
		if op.Kind == OpWrite || op.Kind == OpDelete {
			m.accept(e, accepted)
		}
	}
}

// same compares an operation with the recorded one (R4).
func same(old, e *entry) bool {
	if planted("step-by-number") {
		return true
	}
	return old.Kind == e.Kind && old.Target == e.Target && old.Key == e.Key && old.Digest == e.Digest
}

// diverge: the code took another path. Nothing more of the instance is issued, and it is parked: what is under way is not counted as undone.
func (m *machine) diverge(old, e *entry) {
	was, is := old.describe(), e.describe()
	if was == is {
		is += " with other arguments"
	}
	err := &NonDeterminism{Step: e.Step, Recorded: was, Repeated: is}
	m.reply(e, &Outcome{Err: err})
	m.park(err)
}

// park gives the instance up.
func (m *machine) park(why error) {
	m.queue, m.held, m.unsaid, m.results = nil, nil, nil, 0
	m.end = &Result{Parked: why}
}

func (m *machine) stop(err error) {
	if m.over {
		return
	}
	m.over = true
	m.do(action{kind: actEnd, err: err})
}

// lost: the worker is gone. What the function has ended needs no worker any more.
func (m *machine) lost(err error) {
	if m.end == nil {
		m.stop(err)
	}
}

// result buffers what a step returned (R1) and tells the function.
func (m *machine) result(e *entry, o *Outcome) {
	e.Result, e.Outcome = true, o
	m.unsaid = append(m.unsaid, e)
	m.results++
	m.reply(e, o)
}

func (m *machine) endRecord(e *entry, op *Op) {
	began, ok := m.running[e.Step]
	if !ok {
		m.reply(e, &Outcome{Err: &Malformed{fmt.Sprintf("step %q runs no code to record", e.Step)}})
		return
	}
	delete(m.running, e.Step)
	began.Effect, began.Result = true, true
	began.Outcome = &Outcome{OK: true, Value: op.Value}
	if op.Failure != nil {
		began.Outcome.Err = op.Failure
	}
	m.unsaid = append(m.unsaid, began)
	m.results++
	m.accept(e, accepted)
}

// release lets the reads go that wait for nothing any more.
func (m *machine) release() {
	keep := m.held[:0]
	for _, o := range m.held {
		if o.after > m.drained {
			keep = append(keep, o)
			continue
		}
		kind := actObserve
		switch o.op.Kind {
		case OpAwait:
			kind = actWait
			o.entry.Outcome = &Outcome{Instance: o.op.Instance}
		case OpInvoke:
			kind = actWait
		}
		m.do(action{kind: kind, entry: o.entry, op: o.op})
	}
	m.held = keep
}

// observed takes the result of a read, or of an instance that was waited for. An error that is a result (a callee's failure) is part of the outcome.
func (m *machine) observed(e *entry, o *Outcome) {
	if m.over || m.end != nil {
		return
	}
	if e.Kind == OpInvoke {
		e.Effect = true // with its result the invoke is covered
	}
	m.result(e, o)
}

// unregistered: a callee is not in the store (logged: its registration was withdrawn, or is not yet visible). Register it again, under a new generation.
func (m *machine) unregistered(e *entry, op *Op) {
	if m.over || m.end != nil {
		return
	}
	m.issued++
	m.queue = append(m.queue, &effect{number: m.issued, entry: e, op: op, again: true})
}

func (m *machine) lingered() {
	if m.linger == lingerAsked {
		m.linger = lingerOver
	}
}

// plan decides what goes to the store next. Call it after every message.
func (m *machine) plan() {
	if m.over || m.busy {
		return
	}
	if m.fused {
		m.planFused()
	} else {
		m.planLogged()
	}
}

func (m *machine) send(c *commit) {
	m.busy = true
	c.tip, c.gen, c.insert = m.tip, m.gen, m.registration
	if c.kind != 0 && !planted("no-flush") || c.result != nil {
		c.entries = m.unsaid
		m.unsaid, m.results = nil, 0
	}
	m.do(action{kind: actCommit, commit: c})
}

// kindOf is the kind of the record that an append makes.
func (m *machine) kindOf(end *Result) recordKind {
	switch {
	case end != nil && end.Parked != nil:
		return recParked
	case end != nil:
		return recDone
	case m.registration != nil:
		return recAttempt
	}
	return recResults
}

func (m *machine) planFused() {
	n, bytes, urgent := 0, 0, m.end != nil || len(m.held) > 0 || m.linger == lingerOver
	for n < len(m.queue) && n < maxBatch && bytes < maxBatchBytes {
		e := m.queue[n]
		urgent = urgent || e.waits()
		bytes += len(e.op.Value.Data)
		n++
	}
	urgent = urgent || n == maxBatch || bytes >= maxBatchBytes
	switch {
	case n == 0 && m.end == nil:
		if m.eager && m.registration != nil {
			m.send(&commit{kind: recAttempt})
		}
		return
	case !urgent:
		// Writes only, and the function goes on: more may come, or its end (R13 lets the queue wait).
		if m.linger == lingerNo {
			m.linger = lingerAsked
			m.do(action{kind: actLinger})
		}
		return
	}
	c := &commit{effects: m.queue[:n:n]}
	m.queue = m.queue[n:]
	m.linger = lingerNo
	if m.end != nil && len(m.queue) == 0 {
		c.result = m.end
	}
	if m.onlyRuns(c) {
		// Outside code may run: everything before it is durable already.
		m.committed(c, committed{tip: m.tip, gen: m.gen, outcomes: make([]daal.Outcome, n)})
		return
	}
	c.kind = m.kindOf(c.result)
	m.send(c)
}

// onlyRuns: the commit would change nothing, it only lets outside code run.
func (m *machine) onlyRuns(c *commit) bool {
	if m.registration != nil || c.result != nil || m.results > 0 {
		return false
	}
	for _, e := range c.effects {
		if e.op.Kind != OpBeginRecord {
			return false
		}
	}
	return true
}

func (m *machine) planLogged() {
	switch {
	case len(m.queue) == 0 && m.end == nil && !(m.eager && m.registration != nil):
		return
	case m.registration != nil:
		m.send(&commit{kind: recAttempt})
		return
	case m.admission == admUnknown:
		m.busy = true
		m.do(action{kind: actReadFence})
		return
	}
	admit := m.admission == admSeen
	if len(m.queue) > 0 {
		if (m.results > 0 && !planted("no-flush")) || admit { // R2, R11
			m.send(&commit{kind: recResults, admit: admit})
			return
		}
		head := m.queue[0]
		if head.op.Kind == OpBeginRecord {
			m.queue = m.queue[1:]
			m.committed(&commit{effects: []*effect{head}}, committed{tip: m.tip, gen: m.gen, outcomes: make([]daal.Outcome, 1)})
			return
		}
		m.send(&commit{effects: m.queue[:1:1]})
		return
	}
	if m.end != nil {
		m.send(&commit{kind: m.kindOf(m.end), result: m.end, admit: admit})
	}
}

// fenceRead takes the registry fence, read after the attempt's own record was in the chain (R11).
func (m *machine) fenceRead(callerGen, fence daal.Generation, err error) {
	m.busy = false
	switch {
	case err != nil:
		m.stop(err)
	case callerGen > fence:
		m.admission = admSeen
		m.plan()
	default:
		m.stop(errWithdrawn)
	}
}

// committed takes the answer of a commit.
func (m *machine) committed(c *commit, r committed) {
	m.busy = false
	if m.over {
		return
	}
	if r.err != nil {
		m.stop(r.err)
		return
	}
	m.tip, m.gen = r.tip, r.gen
	if c.kind != 0 {
		m.registration = nil
		if c.admit || m.fused {
			m.admission = admSaid
		}
	}
	if c.result != nil {
		m.over = true
		m.do(action{kind: actEnd, result: c.result})
		return
	}
	if r.fenced > 0 { // renew, then send it again, before any later one of the queue (R9, R13)
		m.send(&commit{kind: recRenew, renewAbove: r.fenced, admit: m.admission == admSeen})
		return
	}
	if !m.fused && len(c.effects) > 0 && c.effects[0].op.Kind != OpBeginRecord {
		m.queue = m.queue[1:]
	}
	for i, e := range c.effects {
		m.answered(e, &r.outcomes[i])
		m.drained = e.number
	}
	m.release()
	m.plan()
}

// answered tells the function what an effect came to, and, logged, notes it for the next record (R7). Fused, the record has it already.
func (m *machine) answered(e *effect, o *daal.Outcome) {
	done, waits := entryOf(e, o)
	switch e.op.Kind {
	case OpBeginRecord:
		if m.running == nil {
			m.running = map[daal.Step]*entry{}
		}
		m.running[e.entry.Step] = e.entry
		m.reply(e.entry, &Outcome{})
		return
	case OpInvoke, OpStart:
		m.do(action{kind: actLaunch, callee: e.callee})
	}
	if waits {
		m.do(action{kind: actWait, entry: done, op: e.op})
		return
	}
	if done.Result {
		m.reply(done, done.Outcome)
	}
	if !m.fused {
		m.unsaid = append(m.unsaid, done)
		if done.Result {
			m.results++
		}
	}
}

// entryOf is what a record says of an effect that was answered. waits: its result comes later.
func entryOf(e *effect, o *daal.Outcome) (done *entry, waits bool) {
	named := *e.entry // a batch that is built again has other outcomes
	done = &named
	done.Effect = true
	switch e.op.Kind {
	case OpCondWrite:
		done.Result = true
		done.Outcome = &Outcome{OK: o.Applied}
	case OpUpdate:
		done.Result = true
		done.Outcome = &Outcome{OK: o.HasValue, Value: o.Value}
	case OpStart:
		done.Result = true
		done.Outcome = &Outcome{OK: true, Instance: e.callee.ID}
	case OpInvoke:
		done.Outcome = &Outcome{Instance: e.callee.ID}
		return done, true
	}
	if o.Failed != "" {
		done.Outcome = &Outcome{Err: &daal.BadExpression{Message: o.Failed}}
	}
	return done, false
}
