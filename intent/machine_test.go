package intent

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/beldi/beldi/daal"
)

// TestMachine plays stories: messages go in, actions come out, nothing else happens. The stories are in testdata/machine, each for a rule. Commands:
//
//	attempt [fused|logged] [resume] [admitted]   begins; with resume the input lists what the journal has: "1 read k = 5", "2 write k covered"
//	step                                         submits the operations of the input, together: "1 read k", "2 write k 5", …
//	observed STEP VALUE                          the read, or the callee, gave the value
//	committed [fenced=N] [applied=false] [err]   the write is done
//	fence gen=N fence=N                          the registry fence has been read
//	lingered | eager                             time has passed
func TestMachine(t *testing.T) {
	datadriven.Walk(t, "testdata/machine", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, s.run)
	})
}

// story is one machine, and what it waits for.
type story struct {
	m       *machine
	waiting map[daal.Step]action // observe, wait
	commit  *commit
	nonce   uint64
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "attempt":
		s.begin(d)
	case "step":
		for line := range strings.Lines(d.Input) {
			req := parseStep(d, line)
			s.m.step(&req, func(k OpKind) daal.Value { return daal.JSON(strconv.Quote("a " + k.String())) })
		}
	case "observed":
		a, ok := s.waiting[daal.Step(d.CmdArgs[0].Key)]
		if !ok {
			d.Fatalf(t, "nobody waits for step %s", d.CmdArgs[0].Key)
		}
		delete(s.waiting, a.entry.Step)
		s.m.observed(a.entry, &Outcome{OK: true, Value: daal.JSON(d.CmdArgs[1].Key)})
	case "unregistered":
		a := s.waiting[daal.Step(d.CmdArgs[0].Key)]
		s.m.unregistered(a.entry, a.op)
	case "committed":
		s.committed(t, d)
	case "fence":
		var gen, fence int64
		d.ScanArgs(t, "gen", &gen)
		d.ScanArgs(t, "fence", &fence)
		s.m.fenceRead(daal.Generation(gen), daal.Generation(fence), nil)
	case "lingered":
		s.m.lingered()
	case "eager":
		s.m.eager = true
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	s.m.plan()
	return s.actions()
}

func (s *story) begin(d *datadriven.TestData) {
	fused := d.HasArg("fused")
	s.waiting, s.commit, s.nonce = map[daal.Step]action{}, nil, 0
	if !d.HasArg("resume") {
		s.m = newMachine(fused, &Registration{ID: "i"}, 10)
		return
	}
	r := &record{Kind: recResults, Gen: 10}
	for line := range strings.Lines(d.Input) {
		text, result, isResult := strings.Cut(strings.TrimSpace(line), " = ")
		text, covered := strings.CutSuffix(text, " covered")
		req := parseStep(d, text)
		e := nameOp(req.Step, &req.Op)
		e.Effect, e.Result = covered, isResult
		if req.Op.Kind == OpInvoke {
			e.Outcome = &Outcome{Instance: "callee"}
		}
		if isResult {
			e.Outcome = &Outcome{OK: true, Value: daal.JSON(result)}
		}
		r.Entries = append(r.Entries, e)
	}
	s.m = resumeMachine(fused, []*record{r}, tip{Pos: 2, Gen: 20}, d.HasArg("admitted"))
}

func parseStep(d *datadriven.TestData, line string) StepRequest {
	f := append(strings.Fields(line), "", "", "")
	switch f[0] {
	case "complete":
		return StepRequest{Op: Op{Kind: OpComplete, Value: daal.JSON(f[1])}}
	case "fail":
		return StepRequest{Op: Op{Kind: OpFail, Failure: &Failure{Message: f[1]}}}
	case "crash":
		return StepRequest{Op: Op{Kind: OpCrash, Message: f[1]}}
	}
	req := StepRequest{Step: daal.Step(f[0]), Op: Op{Table: "t", Key: f[2], Value: daal.JSON(f[3])}}
	for k := OpRead; k < OpComplete; k++ {
		if k.String() == f[1] {
			req.Op.Kind = k
		}
	}
	switch req.Op.Kind {
	case 0:
		panic(fmt.Sprintf("%s: no operation %q", d.Pos, line))
	case OpInvoke, OpStart:
		req.Op = Op{Kind: req.Op.Kind, Target: Function{"s", f[2]}, Value: daal.JSON(f[3])}
	case OpBeginRecord, OpEndRecord:
		req.Op.Table = ""
	case OpAwait:
		req.Op = Op{Kind: OpAwait, Instance: daal.InstanceID(f[2])}
	}
	return req
}

// committed answers the write that is under way as the store would.
func (s *story) committed(t *testing.T, d *datadriven.TestData) {
	c := s.commit
	if c == nil {
		d.Fatalf(t, "no write is under way")
	}
	s.commit = nil
	r := committed{tip: c.tip, gen: c.gen, outcomes: make([]daal.Outcome, len(c.effects))}
	if c.kind != 0 {
		s.nonce++
		r.gen = max(r.gen, c.renewAbove+1)
		r.tip = tip{c.tip.Pos + 1, r.gen, s.nonce}
	}
	for i := range r.outcomes {
		r.outcomes[i] = daal.Outcome{Applied: !d.HasArg("refused")}
	}
	if d.HasArg("fenced") {
		var fence int64
		d.ScanArgs(t, "fenced", &fence)
		r.fenced, r.outcomes = daal.Generation(fence), nil
	}
	if d.HasArg("superseded") {
		r.err = ErrSuperseded
	}
	s.m.committed(c, r)
}

// actions writes what the machine wants done.
func (s *story) actions() string {
	var b strings.Builder
	for _, a := range s.m.take() {
		switch a.kind {
		case actReply:
			fmt.Fprintf(&b, "reply %s: %s\n", a.entry.Step, describeReply(a.outcome))
		case actObserve, actWait:
			s.waiting[a.entry.Step] = a
			fmt.Fprintf(&b, "%s %s\n", map[actionKind]string{actObserve: "observe", actWait: "wait for"}[a.kind], a.entry.Step)
		case actLaunch:
			fmt.Fprintf(&b, "launch %s\n", a.callee.ID)
		case actCommit:
			s.commit = a.commit
			for _, e := range a.commit.effects {
				if e.op.Kind == OpInvoke || e.op.Kind == OpStart {
					e.callee = &Registration{ID: daal.InstanceID("callee of " + string(e.entry.Step))}
				}
			}
			b.WriteString(describeCommit(a.commit))
		case actReadFence:
			b.WriteString("read the fence\n")
		case actLinger:
			b.WriteString("linger\n")
		case actEnd:
			switch {
			case a.err != nil:
				fmt.Fprintf(&b, "end: %v\n", a.err)
			case a.result.Err() != nil:
				fmt.Fprintf(&b, "end: %v\n", a.result.Err())
			default:
				fmt.Fprintf(&b, "end: %s\n", a.result.Value.Data)
			}
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func describeReply(o *Outcome) string {
	s := []string{}
	if o.Err != nil {
		s = append(s, o.Err.Error())
	} else if o.OK {
		s = append(s, "ok")
	} else {
		s = append(s, "no")
	}
	if o.Value.Data != nil {
		s = append(s, string(o.Value.Data))
	}
	if o.Instance != "" {
		s = append(s, string(o.Instance))
	}
	if o.Replayed {
		s = append(s, "(replayed)")
	}
	return strings.Join(s, " ")
}

func describeCommit(c *commit) string {
	var s []string
	if c.kind != 0 {
		s = append(s, "record "+c.kind.String())
	}
	if c.insert != nil {
		s = append(s, "insert")
	}
	if c.admit {
		s = append(s, "admitted")
	}
	if c.renewAbove > 0 {
		s = append(s, fmt.Sprintf("above %d", c.renewAbove))
	}
	for _, e := range c.entries {
		what := "result"
		switch {
		case e.Effect && e.Result:
			what = "applied, result"
		case e.Effect:
			what = "applied"
		}
		s = append(s, fmt.Sprintf("[%s %s: %s]", e.Step, e.Kind, what))
	}
	for _, e := range c.effects {
		s = append(s, fmt.Sprintf("{%s %s %s}", e.entry.Step, e.op.Kind, e.op.Key+e.op.Target.Name))
	}
	if c.result != nil {
		s = append(s, "last")
	}
	return "write: " + strings.Join(s, " ") + "\n"
}

// The machine is told once of a worker's loss; what the function has ended goes on without it.
func TestLostWorker(t *testing.T) {
	m := newMachine(true, &Registration{ID: "i"}, 10)
	m.step(&StepRequest{Op: Op{Kind: OpComplete}}, nil)
	m.lost(ErrWorkerLost)
	m.plan()
	if out := m.take(); len(out) != 1 || out[0].kind != actCommit {
		t.Errorf("after the end: %+v, want the commit of the result", out)
	}
	m = newMachine(true, &Registration{ID: "i"}, 10)
	m.lost(ErrWorkerLost)
	m.plan()
	if out := m.take(); len(out) != 1 || out[0].kind != actEnd || !errors.Is(out[0].err, ErrWorkerLost) {
		t.Errorf("before the end: %+v, want the end of the attempt", out)
	}
}
