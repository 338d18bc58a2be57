package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// functions of the zoo. All but "flip" (diverge_test.go) are deterministic in their input and their results.
var functions map[string]func(*Ctx) (daal.Value, *intent.Failure)

var functionNames = []string{"random", "middle", "leaf", "script", "flip"}

func init() { // not a literal: the programs refer to it
	functions = map[string]func(*Ctx) (daal.Value, *intent.Failure){
		"random": randomProgram, "middle": randomProgram, "leaf": randomProgram, "script": scripted,
	}
}

// calls says whom a random program may call.
var calls = map[string]string{"random": "middle", "middle": "leaf"}

const tables = "t"

func cellName(i int) string { return "k" + strconv.Itoa(i) }

const cellCount = 6

// randomProgram does a few operations; which, depends on its input (a seed) and on all results so far. Its result is a hash of them.
func randomProgram(c *Ctx) (daal.Value, *intent.Failure) {
	h := fnv.New64a()
	h.Write(c.a.Input.Data)
	h.Write([]byte(c.a.Function.Name))
	sum := randomSteps(c, h.Sum64(), map[string]int{"random": 2, "middle": 1}[c.a.Function.Name])
	out := daal.JSON(strconv.FormatUint(sum>>12, 10))
	if sum%11 == 0 {
		return daal.Value{}, &intent.Failure{Message: string(out.Data), Code: "ODD"}
	}
	return out, nil
}

// randomSteps goes on from what is known so far, and returns what is known then. It forks at most `depth` deep.
func randomSteps(c *Ctx, known uint64, depth int) uint64 {
	var started []daal.InstanceID
	mix := func(s string) {
		h := fnv.New64a()
		fmt.Fprintf(h, "%x %s", known, s)
		known = h.Sum64()
	}
	for range 1 + known%4 {
		rng := rand.New(rand.NewPCG(known, 7))
		if depth > 0 && rng.IntN(8) == 0 {
			out := make([]uint64, 2+rng.IntN(2))
			branches := make([]func(*Ctx), len(out))
			for b := range branches {
				seed := rng.Uint64()
				branches[b] = func(c *Ctx) { out[b] = randomSteps(c, seed, depth-1) }
			}
			c.Fork(branches...)
			mix(fmt.Sprint(out))
			continue
		}
		op := randomOp(c, rng, started)
		o := c.Do(op)
		if op.Kind == intent.OpStart {
			started = append(started, o.Instance)
		}
		mix(describeOutcome(o))
	}
	return known
}

func randomOp(c *Ctx, rng *rand.Rand, started []daal.InstanceID) intent.Op {
	key := cellName(rng.IntN(cellCount))
	unique := daal.JSON(strconv.FormatUint(rng.Uint64()>>12, 10))
	callee := intent.Function{Service: "svc", Name: calls[c.a.Function.Name]}
	read := intent.Op{Kind: intent.OpRead, Table: tables, Key: key}
	switch x := rng.IntN(28); {
	case len(started) > 0 && x%2 == 0:
		return intent.Op{Kind: intent.OpAwait, Instance: started[rng.IntN(len(started))]}
	case x < 4:
		return read
	case x < 8:
		return intent.Op{Kind: intent.OpWrite, Table: tables, Key: key, Value: unique}
	case x < 10:
		return intent.Op{Kind: intent.OpDelete, Table: tables, Key: key}
	case x < 13:
		return intent.Op{Kind: intent.OpCondWrite, Table: tables, Key: key, Value: unique, Expr: "!found || value % 2 == 0"}
	case x < 16:
		return intent.Op{Kind: intent.OpUpdate, Table: tables, Key: key, Expr: "found ? value + 1 : 1"}
	case x < 17:
		return intent.Op{Kind: intent.OpUpdate, Table: tables, Key: key, Expr: "[1][7]"} // fails, always
	case x < 18:
		return intent.Op{Kind: intent.OpBeginRecord, Key: [...]string{"code", "failing"}[rng.IntN(2)]}
	case x < 20:
		return intent.Op{Kind: [...]intent.OpKind{intent.OpUUID, intent.OpNow, intent.OpRandom}[rng.IntN(3)]}
	case x < 22:
		op := intent.Op{Kind: intent.OpList, Table: tables, Key: "k", Limit: 1 + rng.IntN(3), Values: true}
		if rng.IntN(2) == 0 {
			op.After = cellName(0)
		}
		return op
	case callee.Name == "":
		return read
	case x < 24:
		return intent.Op{Kind: intent.OpStart, Target: callee, Value: unique}
	default:
		return intent.Op{Kind: intent.OpInvoke, Target: callee, Value: unique}
	}
}

func describeOutcome(o intent.Outcome) string {
	err := ""
	if o.Err != nil {
		err = o.Err.Error()
	}
	s := fmt.Sprintf("{%v %s %s", o.OK, o.Value.Data, err)
	for _, e := range o.Entries {
		s += fmt.Sprintf(" %s=%s", e.Key, e.Value.Data)
	}
	return s + o.Next + "}"
}
