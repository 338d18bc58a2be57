package sim

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// scripts are fixed programs that together use every operation. Crash points run each with a fault at every call. A script's result tells all that it
// saw, but for time, chance and how often outside code ran.
var scripts = map[string]func(*script){
	"read":   func(s *script) { s.read("k0"); s.write("k0", "1"); s.read("k0") },
	"write":  func(s *script) { s.write("k0", "1") },
	"delete": func(s *script) { s.write("k0", "1"); s.delete("k0"); s.read("k0"); s.delete("k1") },
	"cond":   func(s *script) { s.cond("k0", "2", "!found"); s.cond("k0", "4", "!found"); s.read("k0") },
	"cond-fails": func(s *script) {
		s.write("k0", "1")
		s.cond("k0", "2", "[1][7] == 1")
		s.cond("k0", "3", "!found")
		s.read("k0")
	},
	"update": func(s *script) {
		s.add("k0")
		s.add("k0")
		s.update("k0", "[1][7]", daal.Value{})
		s.add("k1")
		s.add("k0")
	},
	"update-big":  func(s *script) { s.update("k0", "found ? value + input : input", big); s.add("k1"); s.read("k0") },
	"list":        listScript,
	"invoke":      func(s *script) { s.write("k1", "7"); s.invoke("update"); s.read("k0") },
	"invoke-deep": func(s *script) { s.add("k1"); s.invoke("invoke-two"); s.add("k1") },
	"invoke-two":  func(s *script) { s.add("k2"); s.invoke("invoke"); s.add("k2") },
	"start":       func(s *script) { s.await(s.start("update")); s.read("k0"); s.start("add-k5") },
	"fan-out": func(s *script) {
		s.fork(5, func(s *script, i int) { s.invoke("add-k" + strconv.Itoa(i)) })
		s.read("k4")
	},
	"record": func(s *script) { s.write("k0", "1"); s.record("code"); s.add("k0"); s.record("failing code") },
	"chance": func(s *script) { s.draw(); s.add("k0"); s.draw() },
	"forks":  forksScript,
	"fails": func(s *script) {
		s.add("k0")
		s.failure = &intent.Failure{Message: "no rooms", Code: "FULL", Details: value(`{"left":0}`)}
	},
	"callee-fails": func(s *script) { s.invoke("fails"); s.add("k1") },
	"passes-on":    func(s *script) { s.add("k1"); s.failure = s.invoke("fails") },
	"ten-writes": func(s *script) {
		for i := range 10 {
			s.write(cellName(i%cellCount), strconv.Itoa(i))
		}
	},
	"one-key": func(s *script) {
		s.write("k0", "1")
		s.read("k0")
		s.write("k0", "2")
		s.read("k0")
		s.write("k0", "1")
	},
	"roll-over": func(s *script) {
		for i := range 12 {
			s.write("k0", strconv.Itoa(i))
		}
		s.add("k0")
		s.read("k0")
	},
	"nothing": func(*script) {},
}

func init() {
	for i := range cellCount {
		scripts["add-k"+strconv.Itoa(i)] = func(s *script) { s.add(cellName(i)) }
	}
}

// big is a value over what an Update returns.
var big = value("%q", strings.Repeat("x", daal.MaxReturned))

func listScript(s *script) {
	s.list("k", 10, "")
	for i := range 5 {
		s.write(cellName(i), strconv.Itoa(i))
	}
	s.delete("k3")
	s.list("k", 2, s.list("k", 2, ""))
	s.list("none", 2, "")
}

func forksScript(s *script) {
	s.fork(2, func(s *script, i int) {
		s.add(cellName(i))
		s.fork(2, func(s *script, j int) {
			s.write(cellName(2+2*i+j), strconv.Itoa(10*i+j))
			s.draw()
			s.read(cellName(2 + 2*i + j))
		})
		s.add(cellName(i))
	})
	s.read("k0")
	s.read("k5")
}

// script runs one, and keeps what it saw.
type script struct {
	c       *Ctx
	saw     []string
	failure *intent.Failure
}

// scripted runs the script that its input names.
func scripted(c *Ctx) (daal.Value, *intent.Failure) {
	name, err := strconv.Unquote(string(c.a.Input.Data))
	if err != nil {
		panic(err)
	}
	s := &script{c: c}
	scripts[name](s)
	return value("%q", strings.Join(s.saw, " ")), s.failure
}

func value(format string, args ...any) daal.Value { return daal.JSON(fmt.Sprintf(format, args...)) }

func (s *script) do(op intent.Op) intent.Outcome {
	op.Table = tables
	o := s.c.Do(op)
	s.saw = append(s.saw, describeOutcome(o))
	return o
}

func (s *script) read(key string) { s.do(intent.Op{Kind: intent.OpRead, Key: key}) }
func (s *script) write(key, v string) {
	s.do(intent.Op{Kind: intent.OpWrite, Key: key, Value: daal.JSON(v)})
}
func (s *script) delete(key string) { s.do(intent.Op{Kind: intent.OpDelete, Key: key}) }
func (s *script) cond(key, v, expr string) {
	s.do(intent.Op{Kind: intent.OpCondWrite, Key: key, Value: daal.JSON(v), Expr: expr})
}

func (s *script) update(key, expr string, input daal.Value) {
	s.do(intent.Op{Kind: intent.OpUpdate, Key: key, Expr: expr, Value: input})
}
func (s *script) add(key string) { s.update(key, "found ? value + 1 : 1", daal.Value{}) }

func (s *script) list(prefix string, limit int, after string) (next string) {
	return s.do(intent.Op{Kind: intent.OpList, Key: prefix, Limit: limit, After: after, Values: true}).Next
}

func (s *script) invoke(name string) *intent.Failure {
	o := s.do(intent.Op{Kind: intent.OpInvoke, Target: intent.Function{Service: "svc", Name: "script"}, Value: value("%q", name)})
	f, _ := o.Err.(*intent.Failure)
	return f
}

func (s *script) start(name string) daal.InstanceID {
	return s.do(intent.Op{Kind: intent.OpStart, Target: intent.Function{Service: "svc", Name: "script"}, Value: value("%q", name)}).Instance
}

func (s *script) await(id daal.InstanceID) { s.do(intent.Op{Kind: intent.OpAwait, Instance: id}) }

// record notes whether the code failed, not what it gave: that differs from run to run.
func (s *script) record(key string) {
	o := s.c.Do(intent.Op{Kind: intent.OpBeginRecord, Key: key})
	s.saw = append(s.saw, fmt.Sprint(o.Err))
}

// draw takes time, a random number and an id.
func (s *script) draw() {
	for _, k := range []intent.OpKind{intent.OpNow, intent.OpRandom, intent.OpUUID} {
		s.c.Do(intent.Op{Kind: k})
	}
}

func (s *script) fork(n int, f func(s *script, i int)) {
	parts := make([]script, n)
	branches := make([]func(*Ctx), n)
	for i := range parts {
		branches[i] = func(c *Ctx) {
			parts[i].c = c
			f(&parts[i], i)
		}
	}
	s.c.Fork(branches...)
	for i := range parts {
		s.saw = append(s.saw, parts[i].saw...)
	}
}
