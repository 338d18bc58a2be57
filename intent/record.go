package intent

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/beldi/beldi/daal"
)

// recordKind is what a journal record says.
type recordKind uint8

const (
	recAttempt recordKind = iota + 1 // an attempt begins
	recResults                       // results, and effects that were answered
	recRenew                         // as results, under a new generation (R9)
	recDone                          // the last one: the result (R5)
	recParked                        // the last one: given up
)

func (k recordKind) String() string {
	return [...]string{"?", "attempt", "results", "renew", "done", "parked"}[min(k, recParked)]
}

// last tells the records after which none comes.
func (k recordKind) last() bool { return k == recDone || k == recParked }

// record is one link of an instance's journal.
type record struct {
	Kind  recordKind
	Gen   daal.Generation
	Nonce uint64
	// Crashes so far, in an attempt record: worker losses and uncaught exceptions, not deaths of sidecars.
	Crashes int
	// Input of the instance, in record 1.
	Input   *daal.Value
	Entries []*entry
	// Result, in the last record.
	Result *Result
}

// entry is one step in a record: an effect that was answered (covered, R7), a result, or both.
type entry struct {
	Step   daal.Step
	Kind   OpKind
	Target string // table, function or instance
	Key    string
	Digest uint64
	// Effect: it has been applied for good; a replay does not issue it again.
	Effect bool
	// Result: Outcome is what the step returned, and returns again.
	Result bool
	// Outcome is nil for an effect without a result. Of an invoke that was registered only, it names the callee.
	Outcome *Outcome
}

// noOutcome stands for the outcome of an effect without one.
var noOutcome Outcome

func (e *entry) outcome() *Outcome {
	if e.Outcome == nil {
		return &noOutcome
	}
	return e.Outcome
}

func (e *entry) describe() string { return describe(e.Kind, e.Target, e.Key) }

func describe(kind OpKind, target, key string) string {
	s := kind.String()
	if target != "" {
		s += " " + target
	}
	if key != "" {
		s += fmt.Sprintf(" %q", key)
	}
	return s
}

// nameOp fills in what identifies an operation: kind, target, key, and a digest of everything it was asked (R4).
func nameOp(step daal.Step, op *Op) *entry {
	e := &entry{Step: step, Kind: op.Kind, Target: op.Table, Key: op.Key}
	switch op.Kind {
	case OpInvoke, OpStart:
		e.Target = op.Target.String()
	case OpAwait:
		e.Target = string(op.Instance)
	case OpEndRecord:
		// It ends the step that BeginRecord began: not an operation of its own.
		e.Kind = OpBeginRecord
	}
	if op.Kind != OpEndRecord {
		e.Digest = digest(op)
	}
	return e
}

func digest(op *Op) uint64 {
	b := make([]byte, 0, 256)
	b = append(b, byte(op.Kind))
	for _, s := range [...]string{op.Table, op.Key, op.Expr, op.After, op.Target.Service, op.Target.Name, string(op.Instance), op.Value.Type} {
		b = appendText(b, s)
	}
	b = binary.AppendVarint(b, int64(op.Limit))
	if op.Values {
		b = append(b, 1)
	}
	b = append(b, op.Value.Data...)
	h := sha256.Sum256(b)
	return binary.BigEndian.Uint64(h[:])
}

// digestValue names an input, to tell a reused idempotency key.
func digestValue(v daal.Value) []byte {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(v.Type))))
	h.Write([]byte(v.Type))
	h.Write(v.Data)
	return h.Sum(nil)[:16]
}

// ---- encoding: a version byte, then fields in order; lengths and numbers as varints.

const recordVersion = 1

var errRecord = errors.New("intent: a journal record is damaged")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendValue(b []byte, v daal.Value) []byte {
	b = appendText(b, v.Type)
	b = binary.AppendUvarint(b, uint64(len(v.Data)))
	return append(b, v.Data...)
}

const (
	flagEffect = 1 << iota
	flagResult
	flagOK
	flagValue
	flagInstance
	flagEntries
	flagErr
)

// Errors that a step may have as its result.
const (
	errFailure = iota + 1
	errParked
	errExpression
	errDiverged
)

func (r *record) encode() []byte {
	b := make([]byte, 0, 64+48*len(r.Entries))
	b = append(b, recordVersion, byte(r.Kind))
	b = binary.AppendUvarint(b, uint64(r.Gen))
	b = binary.BigEndian.AppendUint64(b, r.Nonce)
	b = binary.AppendUvarint(b, uint64(r.Crashes))
	if r.Input == nil {
		b = append(b, 0)
	} else {
		b = appendValue(append(b, 1), *r.Input)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Entries)))
	for i := range r.Entries {
		b = r.Entries[i].append(b)
	}
	if r.Result == nil {
		return append(b, 0)
	}
	return appendResult(append(b, 1), r.Result)
}

func appendFailure(b []byte, f *Failure) []byte {
	return appendValue(appendText(appendText(b, f.Message), f.Code), f.Details)
}

func appendResult(b []byte, r *Result) []byte {
	switch {
	case r.Failure != nil:
		return appendFailure(append(b, 1), r.Failure)
	case r.Parked != nil:
		return appendErr(append(b, 2), r.Parked)
	}
	return appendValue(append(b, 0), r.Value)
}

func (e *entry) append(b []byte) []byte {
	o := e.outcome()
	flags := byte(0)
	set := func(on bool, f byte) {
		if on {
			flags |= f
		}
	}
	set(e.Effect, flagEffect)
	set(e.Result, flagResult)
	set(o.OK, flagOK)
	set(o.Value.Data != nil || o.Value.Type != "", flagValue)
	set(o.Instance != "", flagInstance)
	set(o.Entries != nil || o.Next != "", flagEntries)
	set(o.Err != nil, flagErr)
	b = appendText(b, string(e.Step))
	b = append(b, byte(e.Kind), flags)
	b = appendText(b, e.Target)
	b = appendText(b, e.Key)
	b = binary.BigEndian.AppendUint64(b, e.Digest)
	if flags&flagValue != 0 {
		b = appendValue(b, o.Value)
	}
	if flags&flagInstance != 0 {
		b = appendText(b, string(o.Instance))
	}
	if flags&flagEntries != 0 {
		b = binary.AppendUvarint(b, uint64(len(o.Entries)))
		for i := range o.Entries {
			b = appendValue(appendText(b, o.Entries[i].Key), o.Entries[i].Value)
		}
		b = appendText(b, o.Next)
	}
	if flags&flagErr != 0 {
		b = appendErr(b, o.Err)
	}
	return b
}

func appendErr(b []byte, err error) []byte {
	var f *Failure
	var p *ParkedError
	var n *NonDeterminism
	switch {
	case errors.As(err, &f):
		return appendFailure(append(b, errFailure), f)
	case errors.As(err, &p):
		return appendText(append(b, errParked), p.Why)
	case errors.As(err, &n):
		return appendText(appendText(appendText(append(b, errDiverged), string(n.Step)), n.Recorded), n.Repeated)
	}
	var x *daal.BadExpression
	if !errors.As(err, &x) {
		// Only these are ever the result of a step: everything else is the sidecar's or the store's trouble.
		panic(fmt.Sprintf("intent: %T is no result: %v", err, err))
	}
	return appendText(append(b, errExpression), x.Message)
}

// decoder reads what the append functions wrote. After a mistake it returns zero values; err tells.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uvarint() uint64 {
	n, k := binary.Uvarint(d.b)
	if k <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[k:]
	return n
}

func (d *decoder) fail() {
	d.err = errRecord
	d.b = nil
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	p := d.take(1)
	if p == nil {
		return 0
	}
	return p[0]
}

func (d *decoder) uint64() uint64 {
	p := d.take(8)
	if p == nil {
		return 0
	}
	return binary.BigEndian.Uint64(p)
}

func (d *decoder) text() string { return string(d.take(d.uvarint())) }

func (d *decoder) value() daal.Value {
	v := daal.Value{Type: d.text()}
	v.Data = d.take(d.uvarint())
	return v
}

func (d *decoder) failure() *Failure {
	return &Failure{Message: d.text(), Code: d.text(), Details: d.value()}
}

func (d *decoder) result() *Result {
	switch d.byte() {
	case 0:
		return &Result{Value: d.value()}
	case 1:
		return &Result{Failure: d.failure()}
	case 2:
		return &Result{Parked: d.error()}
	}
	d.fail()
	return nil
}

// count reads the length of a list whose members take at least one byte each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) entry() *entry {
	e := &entry{Step: daal.Step(d.text())}
	e.Kind = OpKind(d.byte())
	flags := d.byte()
	e.Target, e.Key, e.Digest = d.text(), d.text(), d.uint64()
	e.Effect, e.Result = flags&flagEffect != 0, flags&flagResult != 0
	if !e.Result && flags&(flagOK|flagValue|flagInstance|flagEntries|flagErr) == 0 {
		return e
	}
	o := &Outcome{OK: flags&flagOK != 0}
	e.Outcome = o
	if flags&flagValue != 0 {
		o.Value = d.value()
	}
	if flags&flagInstance != 0 {
		o.Instance = daal.InstanceID(d.text())
	}
	if flags&flagEntries != 0 {
		o.Entries = make([]ListEntry, d.count())
		for i := range o.Entries {
			o.Entries[i] = ListEntry{Key: d.text(), Value: d.value()}
		}
		o.Next = d.text()
	}
	if flags&flagErr != 0 {
		o.Err = d.error()
	}
	return e
}

// error reads what appendErr wrote.
func (d *decoder) error() error {
	switch d.byte() {
	case errFailure:
		return d.failure()
	case errParked:
		return &ParkedError{Why: d.text()}
	case errExpression:
		return &daal.BadExpression{Message: d.text()}
	case errDiverged:
		return &NonDeterminism{Step: daal.Step(d.text()), Recorded: d.text(), Repeated: d.text()}
	}
	d.fail()
	return nil
}

// decodeRecord is the inverse of encode. It refuses what encode did not write, without panic.
func decodeRecord(b []byte) (*record, error) {
	d := &decoder{b: b}
	if v := d.byte(); v != recordVersion {
		return nil, fmt.Errorf("%w: version %d", errRecord, v)
	}
	r := &record{Kind: recordKind(d.byte()), Gen: daal.Generation(d.uvarint()), Nonce: d.uint64(), Crashes: int(d.uvarint())}
	if r.Kind < recAttempt || r.Kind > recParked {
		d.fail()
	}
	if d.byte() == 1 {
		v := d.value()
		r.Input = &v
	}
	if n := d.count(); n > 0 {
		r.Entries = make([]*entry, 0, min(n, 1024))
		for range n {
			r.Entries = append(r.Entries, d.entry())
			if d.err != nil {
				break
			}
		}
	}
	if d.byte() == 1 {
		r.Result = d.result()
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

// tip names the last record of a journal: what an append compares (R2).
type tip struct {
	Pos   int64
	Gen   daal.Generation
	Nonce uint64
}

const tipSize = 24

func (t tip) bytes() []byte {
	b := make([]byte, 0, tipSize)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Pos))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Gen))
	return binary.BigEndian.AppendUint64(b, t.Nonce)
}

func parseTip(b []byte) tip {
	if len(b) != tipSize {
		return tip{}
	}
	return tip{
		Pos:   int64(binary.BigEndian.Uint64(b)),
		Gen:   daal.Generation(binary.BigEndian.Uint64(b[8:])),
		Nonce: binary.BigEndian.Uint64(b[16:]),
	}
}
