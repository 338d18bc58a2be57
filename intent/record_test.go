package intent

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/beldi/beldi/daal"
)

var (
	anyText  = rapid.StringN(0, 8, -1)
	anyValue = rapid.Custom(func(t *rapid.T) daal.Value {
		return daal.Value{Data: rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "data"), Type: anyText.Draw(t, "type")}
	})
	anyFailure = rapid.Custom(func(t *rapid.T) *Failure {
		return &Failure{Message: anyText.Draw(t, "message"), Code: anyText.Draw(t, "code"), Details: anyValue.Draw(t, "details")}
	})
	anyParked = rapid.Custom(func(t *rapid.T) error {
		if rapid.Bool().Draw(t, "diverged") {
			return &NonDeterminism{Step: daal.Step(anyText.Draw(t, "step")), Recorded: anyText.Draw(t, "recorded"), Repeated: anyText.Draw(t, "repeated")}
		}
		return &ParkedError{Why: anyText.Draw(t, "why")}
	})
	anyOutcome = rapid.Custom(func(t *rapid.T) *Outcome {
		o := &Outcome{OK: rapid.Bool().Draw(t, "ok"), Value: anyValue.Draw(t, "value"), Instance: daal.InstanceID(anyText.Draw(t, "instance")), Next: anyText.Draw(t, "next")}
		for range rapid.IntRange(0, 3).Draw(t, "entries") {
			o.Entries = append(o.Entries, ListEntry{Key: anyText.Draw(t, "key"), Value: anyValue.Draw(t, "value")})
		}
		switch rapid.IntRange(0, 3).Draw(t, "err") {
		case 1:
			o.Err = anyFailure.Draw(t, "failure")
		case 2:
			o.Err = anyParked.Draw(t, "parked")
		case 3:
			o.Err = &daal.BadExpression{Message: anyText.Draw(t, "expression")}
		}
		return o
	})
	anyEntry = rapid.Custom(func(t *rapid.T) *entry {
		e := &entry{
			Step: daal.Step(anyText.Draw(t, "step")), Kind: OpKind(rapid.IntRange(int(OpRead), int(OpUUID)).Draw(t, "kind")),
			Target: anyText.Draw(t, "target"), Key: anyText.Draw(t, "key"), Digest: rapid.Uint64().Draw(t, "digest"),
			Effect: rapid.Bool().Draw(t, "effect"), Result: rapid.Bool().Draw(t, "result"),
		}
		if e.Result {
			e.Outcome = anyOutcome.Draw(t, "outcome")
		}
		return e
	})
	anyRecord = rapid.Custom(func(t *rapid.T) *record {
		r := &record{
			Kind: recordKind(rapid.IntRange(int(recAttempt), int(recParked)).Draw(t, "kind")), Gen: daal.Generation(rapid.Int64Min(0).Draw(t, "gen")),
			Nonce: rapid.Uint64().Draw(t, "nonce"), Crashes: rapid.IntRange(0, 1000).Draw(t, "crashes"), Entries: rapid.SliceOfN(anyEntry, 0, 4).Draw(t, "entries"),
		}
		if rapid.Bool().Draw(t, "first") {
			v := anyValue.Draw(t, "input")
			r.Input = &v
		}
		switch rapid.IntRange(0, 3).Draw(t, "result") {
		case 1:
			r.Result = &Result{Value: anyValue.Draw(t, "value")}
		case 2:
			r.Result = &Result{Failure: anyFailure.Draw(t, "failure")}
		case 3:
			r.Result = &Result{Parked: anyParked.Draw(t, "parked")}
		}
		return r
	})
)

// What is written is what is read: a replay sees what the first attempt saw.
func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord.Draw(t, "record")
		got, err := decodeRecord(r.encode())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("decoded (-written +read):\n%s", d)
		}
	})
}

// Every prefix of a record, and a record with something behind it, is refused.
func TestTornRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyRecord.Draw(t, "record").encode()
		for n := range b {
			if r, err := decodeRecord(b[:n]); err == nil {
				t.Fatalf("%d of %d bytes were taken for %+v", n, len(b), r)
			}
		}
		if _, err := decodeRecord(append(b, 0)); err == nil {
			t.Fatal("a byte too many was taken")
		}
	})
}

// FuzzDecodeRecord: whatever the bytes, no panic; and what is taken for a record is written and read again as the same.
func FuzzDecodeRecord(f *testing.F) {
	for i := range 20 {
		f.Add(anyRecord.Example(i).encode())
	}
	f.Add([]byte{})
	f.Add([]byte{recordVersion, byte(recDone), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(r.encode())
		if err != nil {
			t.Fatalf("written again it is refused: %v", err)
		}
		if !bytes.Equal(again.encode(), r.encode()) {
			t.Fatalf("written again it is another: %+v, %+v", r, again)
		}
	})
}

// R4: the digest tells operations apart whose fields put together are alike.
func TestDigest(t *testing.T) {
	ops := []Op{
		{Kind: OpRead, Table: "ab", Key: "c"}, {Kind: OpRead, Table: "a", Key: "bc"}, {Kind: OpDelete, Table: "a", Key: "bc"},
		{Kind: OpWrite, Table: "a", Key: "b", Value: daal.JSON("1")}, {Kind: OpWrite, Table: "a", Key: "b", Value: daal.JSON("1 ")},
		{Kind: OpWrite, Table: "a", Key: "b", Value: daal.Value{Data: []byte("1"), Type: "text/plain"}},
		{Kind: OpCondWrite, Table: "a", Key: "b", Value: daal.JSON("1"), Expr: "found"}, {Kind: OpCondWrite, Table: "a", Key: "b", Value: daal.JSON("found1")},
		{Kind: OpList, Table: "a", Limit: 1}, {Kind: OpList, Table: "a", Limit: 1, Values: true}, {Kind: OpList, Table: "a", Limit: 2}, {Kind: OpList, Table: "a", After: "x", Limit: 1},
		{Kind: OpInvoke, Target: Function{"s", "f"}}, {Kind: OpInvoke, Target: Function{"sf", ""}}, {Kind: OpAwait, Instance: "i"},
	}
	seen := map[uint64]Op{}
	for i := range ops {
		d := digest(&ops[i])
		if other, ok := seen[d]; ok {
			t.Errorf("%+v and %+v have the same digest", other, ops[i])
		}
		seen[d] = ops[i]
	}
}

// A tip is found again in the row, and nothing else is taken for one.
func TestTip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := tip{rapid.Int64Min(0).Draw(t, "pos"), daal.Generation(rapid.Int64Min(0).Draw(t, "gen")), rapid.Uint64().Draw(t, "nonce")}
		if got := parseTip(at.bytes()); got != at {
			t.Fatalf("%+v became %+v", at, got)
		}
		if got := parseTip(at.bytes()[1:]); got != (tip{}) {
			t.Fatalf("a torn tip is %+v", got)
		}
	})
}
