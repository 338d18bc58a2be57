package intent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
)

// Fields of an instance row. The journal's records are rows of the same partition: recordSort(position), field fRecord.
const (
	fTip      = "tip"
	fAdmitted = "adm"
	fState    = "st"
	fOwner    = "own" // incarnation of the sidecar that runs it
	fFunction = "fn"  // tuple(service, name)
	fCreated  = "at"  // ms of the epoch
	fDigest   = "dig" // of the input
	fTrace    = "tr"
	fCaller   = "cal" // tuple(instance, step)
	fCallGen  = "cg"  // the caller's generation (R11)
	fRecord   = "r"
	fFence    = "g"
	fUntil    = "until"
	fAttempts = "att"
	fLife     = "life"
)

// shards is how many fences a realm has: each for the instances whose id hashes to it.
const shards = 16

func shardOf(id daal.InstanceID) string {
	h := fnv.New32a()
	h.Write([]byte(id))
	return fmt.Sprintf("%02x", h.Sum32()%shards)
}

func instanceKey(id daal.InstanceID) backends.Key {
	return backends.Key{Kind: backends.KindInstance, Part: string(id)}
}

func recordSort(pos int64) string {
	return string(binary.BigEndian.AppendUint64([]byte("j"), uint64(pos)))
}

func recordKey(id daal.InstanceID, pos int64) backends.Key {
	return backends.Key{Kind: backends.KindInstance, Part: string(id), Sort: recordSort(pos)}
}

func openKey(id daal.InstanceID) backends.Key {
	return backends.Key{Kind: backends.KindOpen, Part: shardOf(id), Sort: string(id)}
}

// registryFence is the key of the registry fence for instances of the shard that this realm's functions call (protocol.md, Words).
func registryFence(id daal.InstanceID) backends.Key {
	return backends.Key{Kind: backends.KindFence, Part: shardOf(id), Sort: "registry"}
}

func sidecarKey(incarnation string) backends.Key {
	return backends.Key{Kind: backends.KindSidecar, Part: incarnation}
}

func functionKey(f Function) backends.Key {
	return backends.Key{Kind: backends.KindFunction, Part: backends.Tuple(f.Service), Sort: f.Name}
}

// Registration is what makes an instance durable: its row and first record.
type Registration struct {
	ID       daal.InstanceID
	Function Function
	Input    daal.Value
	Created  time.Time
	Trace    string
	// Caller and CallerStep, of a callee.
	Caller     daal.InstanceID
	CallerStep daal.Step
	// CallerGen must be above the registry fence (R11). For a request from outside it is the gateway's.
	CallerGen daal.Generation
	// Life tells this instance from another of the same id, after this one was forgotten: the ids of its callees depend on it.
	Life uint64
	// at is the journal's tip where this sidecar has just inserted the instance: its first attempt has begun and need not load it.
	at tip
}

// rowFields are the fields that never change after the insert.
func (g *Registration) rowFields() []backends.Change {
	do := make([]backends.Change, 0, 12)
	do = append(do,
		backends.Change{Field: fFunction, Set: backends.String(backends.Tuple(g.Function.Service, g.Function.Name))},
		backends.Change{Field: fCreated, Set: backends.Int(g.Created.UnixMilli())},
		backends.Change{Field: fDigest, Set: backends.Bytes(digestValue(g.Input))},
		backends.Change{Field: fCallGen, Set: backends.Int(int64(g.CallerGen))},
		backends.Change{Field: fLife, Set: backends.Int(int64(g.Life))})
	if g.Trace != "" {
		do = append(do, backends.Change{Field: fTrace, Set: backends.String(g.Trace)})
	}
	if g.Caller != "" {
		do = append(do, backends.Change{Field: fCaller, Set: backends.String(backends.Tuple(string(g.Caller), string(g.CallerStep)))})
	}
	return do
}

// instanceRow is a decoded instance row.
type instanceRow struct {
	Registration // without the input
	tip          tip
	admitted     bool
	state        State
	owner        string
	digest       []byte
	attempts     int
}

func decodeInstance(id daal.InstanceID, r backends.Row) (*instanceRow, error) {
	fn, err := backends.ParseTuple(r.Text(fFunction))
	if err != nil || len(fn) != 2 {
		return nil, fmt.Errorf("intent: row of instance %s is damaged", id)
	}
	i := &instanceRow{
		tip: parseTip(r.Bytes(fTip)), admitted: r.Int(fAdmitted) != 0, state: State(r.Int(fState)), owner: r.Text(fOwner), digest: r.Bytes(fDigest), attempts: int(r.Int(fAttempts)),
		Registration: Registration{
			ID: id, Function: Function{fn[0], fn[1]}, Created: time.UnixMilli(r.Int(fCreated)), Trace: r.Text(fTrace),
			CallerGen: daal.Generation(r.Int(fCallGen)), Life: uint64(r.Int(fLife)),
		},
	}
	if c, err := backends.ParseTuple(r.Text(fCaller)); err == nil && len(c) == 2 {
		i.Caller, i.CallerStep = daal.InstanceID(c[0]), daal.Step(c[1])
	}
	return i, nil
}

// journal is an instance as loaded: its row and all its records.
type journal struct {
	row     *instanceRow
	records []*record
}

// last returns the last record.
func (j *journal) last() *record { return j.records[len(j.records)-1] }

var errTorn = errors.New("intent: row and journal are at odds")

// loadRow reads an instance row; nil if there is none.
func loadRow(ctx context.Context, s backends.Store, id daal.InstanceID) (*instanceRow, error) {
	r, err := s.Get(ctx, instanceKey(id))
	if err != nil {
		return nil, fmt.Errorf("intent: load instance %s: %w", id, err)
	}
	if !r.Exists() {
		return nil, nil
	}
	return decodeInstance(id, r)
}

const journalPage = 256

// loadJournal reads row and journal; nil if the instance does not exist. Records may be appended, or collected, between the two reads: whoever
// finds them at odds starts over (R10).
func loadJournal(ctx context.Context, s backends.Store, id daal.InstanceID) (*journal, error) {
	for {
		j, err := tryLoad(ctx, s, id)
		if !errors.Is(err, errTorn) {
			return j, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

func tryLoad(ctx context.Context, s backends.Store, id daal.InstanceID) (*journal, error) {
	row, err := loadRow(ctx, s, id)
	if row == nil || err != nil {
		return nil, err
	}
	j := &journal{row: row, records: make([]*record, 0, row.tip.Pos)}
	q := backends.Range{Kind: backends.KindInstance, Part: string(id), Prefix: "j", Limit: journalPage}
	for int64(len(j.records)) < row.tip.Pos {
		page, err := s.Query(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("intent: load the journal of %s: %w", id, err)
		}
		for _, e := range page {
			if int64(len(j.records)) == row.tip.Pos {
				break // appended since
			}
			if e.Key.Sort != recordSort(int64(len(j.records))+1) {
				return nil, errTorn
			}
			r, err := decodeRecord(e.Row.Bytes(fRecord))
			if err != nil {
				return nil, fmt.Errorf("intent: record %d of %s: %w", len(j.records)+1, id, err)
			}
			j.records = append(j.records, r)
		}
		if len(page) < journalPage && int64(len(j.records)) < row.tip.Pos {
			return nil, errTorn
		}
		if len(page) > 0 {
			q.After = page[len(page)-1].Key
		}
	}
	if len(j.records) == 0 || j.last().Gen != row.tip.Gen || j.last().Nonce != row.tip.Nonce {
		return nil, errTorn
	}
	if in := j.records[0].Input; in != nil {
		row.Input = *in
	}
	return j, nil
}

// loadResult reads how an instance ended: nil while it has not.
func loadResult(ctx context.Context, s backends.Store, row *instanceRow) (*Result, error) {
	if row.state == StateRunning {
		return nil, nil
	}
	r, err := s.Get(ctx, recordKey(row.ID, row.tip.Pos))
	if err != nil {
		return nil, fmt.Errorf("intent: load the result of %s: %w", row.ID, err)
	}
	if !r.Exists() {
		return nil, nil // collected since
	}
	rec, err := decodeRecord(r.Bytes(fRecord))
	if err != nil {
		return nil, fmt.Errorf("intent: result of %s: %w", row.ID, err)
	}
	return rec.Result, nil
}

// append is the one way in which a journal grows (R2): updates that add rec behind `at`, on condition that `at` is the tip. With g set the instance
// does not exist yet, and the append is its registration (R11): the row is inserted. row comes first: whoever is refused there is superseded.
func appendUpdates(id daal.InstanceID, at tip, rec *record, g *Registration, owner string, admit bool) (batch []backends.Update, next tip) {
	next = tip{at.Pos + 1, rec.Gen, rec.Nonce}
	row := backends.Update{Key: instanceKey(id)}
	if g != nil {
		row.When = []backends.Cond{{Test: backends.Missing}}
		row.Do = g.rowFields()
	} else {
		row.When = []backends.Cond{{Test: backends.Equal, Field: fTip, Value: backends.Bytes(at.bytes())}}
		if planted("tip-by-position") {
			row.When = []backends.Cond{{Test: backends.Exists}}
		}
	}
	row.Do = append(row.Do, backends.Change{Field: fTip, Set: backends.Bytes(next.bytes())})
	if g != nil || rec.Kind.last() {
		row.Do = append(row.Do, backends.Change{Field: fState, Set: backends.Int(int64(stateAfter(rec)))})
	}
	if g != nil || rec.Kind == recAttempt {
		row.Do = append(row.Do, backends.Change{Field: fOwner, Set: backends.String(owner)}, backends.Change{Field: fAttempts, Add: 1})
	}
	if admit {
		row.Do = append(row.Do, backends.Change{Field: fAdmitted, Set: backends.Int(1)})
	}
	return []backends.Update{row, {
		Key: recordKey(id, next.Pos), Replace: true,
		Do: []backends.Change{{Field: fRecord, Set: backends.Bytes(rec.encode())}},
	}}, next
}

// stateAfter is the state of an instance whose last record is rec.
func stateAfter(rec *record) State {
	switch {
	case rec.Kind == recParked:
		return StateParked
	case rec.Kind != recDone:
		return StateRunning
	case rec.Result.Failure != nil:
		return StateFailed
	}
	return StateSucceeded
}

func openUpdate(id daal.InstanceID, open bool) backends.Update {
	if open {
		return backends.Update{Key: openKey(id), Replace: true, Do: []backends.Change{{Field: fState, Set: backends.Int(1)}}}
	}
	return backends.Update{Key: openKey(id), Delete: true}
}

// admitUpdate checks the registry fence in the batch of a registration: insert and check are one atomic operation (R11).
func admitUpdate(id daal.InstanceID, g daal.Generation) backends.Update {
	return backends.Update{
		Key:  registryFence(id),
		When: []backends.Cond{{Test: backends.LessThan, Field: fFence, Value: backends.Int(int64(g))}},
	}
}
