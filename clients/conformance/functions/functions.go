package functions

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Input is what every function but echo takes.
type Input struct {
	ID    string `json:"id"`
	Crash Crash  `json:"crash"`

	Value  any    `json:"value"`
	Values []any  `json:"values"`
	Size   int    `json:"size"`
	By     int64  `json:"by"`
	Peer   string `json:"peer"`
	N      int    `json:"n"`
	Times  int    `json:"times"`
	How    string `json:"how"`
}

// All are the functions of the app but echo, by name.
var All = map[string]func(Ops, Input) (any, error){
	"about":         about,
	"cells":         cells,
	"values":        values,
	"bytes":         rawBytes,
	"cond":          cond,
	"update":        updates,
	"add":           add,
	"list":          list,
	"invoke":        invokes,
	"start":         starts,
	"record":        records,
	"recordFailure": recordFailure,
	"recordRaise":   recordRaise,
	"ambient":       ambient,
	"branches":      branches,
	"fan":           fan,
	"fanOut":        fanOut,
	"fail":          fail,
	"failCaught":    failCaught,
	"failUncaught":  failUncaught,
	"crash":         crashes,
	"limits":        limits,
	"badExpression": badExpression,
	"diverge":       diverge,
	"cancelled":     cancelled,
}

func about(s Ops, _ Input) (any, error) {
	return Object{"service": s.Service(), "function": s.Function(), "instance": s.Instance(), "attempt": s.Attempt()}, nil
}

func cells(s Ops, in Input) (any, error) {
	before, err := s.Read("cells", in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Write("cells", in.ID, in.Value); err != nil {
		return nil, err
	}
	after, err := s.Read("cells", in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Delete("cells", in.ID); err != nil {
		return nil, err
	}
	deleted, err := s.Read("cells", in.ID)
	if err != nil {
		return nil, err
	}
	return Object{"before": before, "after": after, "deleted": deleted}, s.Write("cells", in.ID+"/kept", in.Value)
}

func values(s Ops, in Input) (any, error) {
	for i, v := range in.Values {
		if err := s.Write("values", key(in.ID, i), v); err != nil {
			return nil, err
		}
	}
	read := make([]any, len(in.Values))
	for i := range in.Values {
		v, err := s.Read("values", key(in.ID, i))
		if err != nil {
			return nil, err
		}
		read[i] = v
	}
	return read, nil
}

func rawBytes(s Ops, in Input) (any, error) {
	data := make([]byte, in.Size)
	for i := range data {
		data[i] = byte(i)
	}
	if err := s.Write("bytes", in.ID, data); err != nil {
		return nil, err
	}
	return s.Read("bytes", in.ID)
}

func cond(s Ops, in Input) (any, error) {
	if err := s.Write("cond", in.ID, Object{"free": 1}); err != nil {
		return nil, err
	}
	var results []bool
	for _, c := range []struct {
		key       string
		free      int
		condition string
	}{
		{in.ID, 0, "value.free == 1"},
		{in.ID, -1, "value.free == 1"},
		{in.ID + "/new", 7, "!found"},
		{in.ID + "/new", 8, "new.free > value.free"},
	} {
		applied, err := s.CondWrite("cond", c.key, Object{"free": c.free}, c.condition)
		if err != nil {
			return nil, err
		}
		results = append(results, applied)
	}
	return results, nil
}

func updates(s Ops, in Input) (any, error) {
	a, err := inc(s, "counters", in.ID)
	if err != nil {
		return nil, err
	}
	b, err := s.Update("counters", in.ID, "value + input", int64(9007199254740992))
	return []any{a, b}, err
}

func add(s Ops, in Input) (any, error) {
	return s.Update("counters", in.ID, "(found ? value : 0) + input", in.By)
}

func list(s Ops, in Input) (any, error) {
	for i := range 5 {
		if err := s.Write("lists", key(in.ID, i), Object{"n": i}); err != nil {
			return nil, err
		}
	}
	prefix, after := in.ID+"/", ""
	var pages [][]Entry
	for first := true; first || after != ""; first = false {
		page, next, err := s.List("lists", prefix, after, 2)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
		after = next
	}
	var keys []string
	for k, err := range s.Keys("lists", prefix, 2) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return Object{"pages": pages, "keys": keys}, nil
}

func invokes(s Ops, in Input) (any, error) {
	var results []any
	for _, call := range []struct {
		target, id string
		by         int
	}{
		{"add", in.ID + "/own", 1},
		{s.Service() + "/add", in.ID + "/own", 2},
		{in.Peer + "/add", in.ID + "/peer", 5},
	} {
		v, err := s.Invoke(call.target, Object{"id": call.id, "by": call.by})
		if err != nil {
			return nil, err
		}
		results = append(results, v)
	}
	return results, s.Write("invoked", in.ID, results)
}

func starts(s Ops, in Input) (any, error) {
	x, err := s.Start("add", Object{"id": in.ID + "/x", "by": 1})
	if err != nil {
		return nil, err
	}
	y, err := s.Start("add", Object{"id": in.ID + "/y", "by": 10})
	if err != nil {
		return nil, err
	}
	b, err := s.Await(y)
	if err != nil {
		return nil, err
	}
	a, err := s.Await(x)
	if err != nil {
		return nil, err
	}
	c, err := s.Await(x)
	return []any{a, b, c}, err
}

// ran notes a run of recorded code in the file of the id.
func ran(id, token string) error {
	name := filepath.Join(os.Getenv("CONFORMANCE_DIR"), strings.ReplaceAll(id, "/", "_"))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(token + "\n")
	return err
}

func records(s Ops, in Input) (any, error) {
	if err := s.Write("record", in.ID, "before"); err != nil {
		return nil, err
	}
	v, err := s.Record("pay", func(token string) (any, error) {
		return Object{"paid": 7, "token": token}, ran(in.ID, token)
	})
	if err != nil {
		return nil, err
	}
	applied, err := s.CondWrite("record", in.ID, v, "value == 'before'")
	return Object{"value": v, "applied": applied}, err
}

func recordFailure(s Ops, in Input) (any, error) {
	if err := s.Write("record", in.ID, "before"); err != nil {
		return nil, err
	}
	_, err := s.Record("charge", func(token string) (any, error) {
		if err := ran(in.ID, token); err != nil {
			return nil, err
		}
		return nil, &Failure{"card declined", "DECLINED", Object{"left": 3}}
	})
	result, err := caught(err)
	if err != nil {
		return nil, err
	}
	result["applied"], err = s.CondWrite("record", in.ID, result["code"], "value == 'before'")
	return result, err
}

// caught returns the parts of a failure, and any other error.
func caught(err error) (Object, error) {
	var f *Failure
	if !errors.As(err, &f) {
		return nil, fmt.Errorf("want a failure, got %w", err)
	}
	return Object{"message": f.Message, "code": f.Code, "details": f.Details}, nil
}

func recordRaise(s Ops, in Input) (any, error) {
	return s.Record("flaky", func(token string) (any, error) {
		if err := ran(in.ID, token); err != nil {
			return nil, err
		}
		if s.Attempt() == 1 {
			return nil, errors.New("conformance: flaky")
		}
		return "done", nil
	})
}

func ambient(s Ops, in Input) (any, error) {
	stamp := func() (string, error) {
		t, err := s.Now()
		return t.Format("2006-01-02T15:04:05.000Z"), err
	}
	now, err := stamp()
	if err != nil {
		return nil, err
	}
	random, err := s.Random()
	if err != nil {
		return nil, err
	}
	uuid, err := s.UUID()
	if err != nil {
		return nil, err
	}
	later, err := stamp()
	if err != nil {
		return nil, err
	}
	v := Object{"now": now, "random": random, "uuid": uuid, "later": later}
	if err := s.Write("ambient", in.ID, v); err != nil {
		return nil, err
	}
	_, err = s.Read("ambient", in.ID)
	return v, err
}

func branches(s Ops, in Input) (any, error) {
	if err := s.Write("branches", in.ID, "start"); err != nil {
		return nil, err
	}
	var left [4]any
	var right any
	err := s.Fork(
		func(c Ops) (err error) {
			if left[0], err = inc(c, "branches", in.ID+"/1"); err != nil {
				return err
			}
			err = c.Fork(
				func(d Ops) (err error) {
					left[1], err = inc(d, "branches", in.ID+"/1/1")
					return err
				},
				func(d Ops) (err error) {
					if err := d.Write("branches", in.ID+"/1/2", "x"); err != nil {
						return err
					}
					left[2], err = d.Read("branches", in.ID+"/1/2")
					return err
				})
			if err != nil {
				return err
			}
			left[3], err = inc(c, "branches", in.ID+"/1")
			return err
		},
		func(c Ops) (err error) {
			if err := c.Write("branches", in.ID+"/2", 2); err != nil {
				return err
			}
			right, err = c.Read("branches", in.ID+"/2")
			return err
		})
	if err != nil {
		return nil, err
	}
	return []any{left, right}, s.Write("branches", in.ID, "end")
}

func fan(s Ops, in Input) (any, error) {
	results := make([]any, in.N)
	var branches []func(Ops) error
	for i := range in.N {
		delay := time.Duration((i*7+s.Attempt()*3)%8) * 5 * time.Millisecond
		branches = append(branches, func(c Ops) (err error) {
			time.Sleep(delay)
			if _, err := inc(c, "fan", key(in.ID, i)); err != nil {
				return err
			}
			time.Sleep(delay)
			results[i], err = c.Read("fan", key(in.ID, i))
			return err
		})
	}
	return results, s.Fork(branches...)
}

func fanOut(s Ops, in Input) (any, error) {
	results := make([]any, in.N)
	var branches []func(Ops) error
	for i := range in.N {
		branches = append(branches, func(c Ops) (err error) {
			results[i], err = c.Invoke("add", Object{"id": key(in.ID, i), "by": i})
			return err
		})
	}
	err := s.Fork(branches...)
	if err != nil {
		return nil, err
	}
	sum := int64(0)
	for _, r := range results {
		n, err := r.(json.Number).Int64()
		if err != nil {
			return nil, err
		}
		sum += n
	}
	return sum, nil
}

func fail(s Ops, in Input) (any, error) {
	if err := s.Write("fail", in.ID, "written"); err != nil {
		return nil, err
	}
	return nil, &Failure{"sold out", "SOLD_OUT", Object{"free": 0, "order": int64(9007199254740993)}}
}

func failCaught(s Ops, in Input) (any, error) {
	_, err := s.Invoke("fail", Object{"id": in.ID + "/callee"})
	result, err := caught(err)
	if err != nil {
		return nil, err
	}
	x, err := s.Start("fail", Object{"id": in.ID + "/started"})
	if err != nil {
		return nil, err
	}
	_, err = s.Await(x)
	started, err := caught(err)
	if err != nil {
		return nil, err
	}
	result["started"] = started["code"]
	if err := s.Write("fail", in.ID, result["code"]); err != nil {
		return nil, err
	}
	result["cell"], err = s.Read("fail", in.ID)
	return result, err
}

func failUncaught(s Ops, in Input) (any, error) {
	return s.Invoke("fail", Object{"id": in.ID + "/callee"})
}

func crashes(s Ops, in Input) (any, error) {
	if _, err := inc(s, "crash", in.ID); err != nil {
		return nil, err
	}
	v, err := s.Read("crash", in.ID)
	if err == nil && s.Attempt() <= in.Times {
		err = errors.New("conformance: crash")
	}
	return v, err
}

func limits(s Ops, in Input) (any, error) {
	if err := s.Write("limits", in.ID, strings.Repeat("x", 262142)); err != nil {
		return nil, err
	}
	a := s.Write("limits", in.ID, strings.Repeat("x", 262143))
	b := s.Write("limits", strings.Repeat("k", 1025), 1)
	_, c := s.Invoke("echo", strings.Repeat("x", 1048575))
	return []string{reason(a), reason(b), reason(c)}, nil
}

func badExpression(s Ops, in Input) (any, error) {
	if err := s.Write("expressions", in.ID, "text"); err != nil {
		return nil, err
	}
	_, err := s.CondWrite("expressions", in.ID, 1, "value +")
	if errors.Is(err, errScripted) {
		return nil, err
	}
	a := reason(err)
	_, err = s.Update("expressions", in.ID, "value + 1", nil)
	if errors.Is(err, errScripted) {
		return nil, err
	}
	b := reason(err)
	v, err := s.Read("expressions", in.ID)
	return []any{a, b, v}, err
}

func diverge(s Ops, in Input) (any, error) {
	how := in.How
	if s.Attempt() == 1 {
		how = ""
	}
	var err error
	switch how {
	case "operation":
		_, err = s.Now()
	case "key":
		_, err = s.Read("diverge", in.ID+"/other")
	case "missing":
	default:
		_, err = s.Read("diverge", in.ID)
	}
	if err != nil {
		return nil, err
	}
	value := 1
	if how == "argument" {
		value = 2
	}
	if _, err := s.CondWrite("diverge", in.ID+"/1", value, "true"); err != nil {
		return nil, err
	}
	if _, err := inc(s, "diverge", in.ID+"/2"); err != nil {
		return nil, err
	}
	if s.Attempt() == 1 {
		return nil, errors.New("conformance: crash")
	}
	return 0, nil
}

// stopped holds the ids whose first attempt saw that it was over.
var stopped sync.Map

func cancelled(s Ops, in Input) (any, error) {
	if _, err := inc(s, "cancelled", in.ID); err != nil {
		return nil, err
	}
	if s.Attempt() == 1 {
		select {
		case <-s.Done():
		case <-time.After(time.Minute):
			return nil, errors.New("conformance: the attempt was not stopped")
		}
		_, err := s.Read("cancelled", in.ID)
		if errors.Is(err, ErrAttemptOver) {
			stopped.Store(in.ID, true)
		}
		return nil, err
	}
	v, err := s.Read("cancelled", in.ID)
	_, saw := stopped.Load(in.ID)
	return Object{"value": v, "stopped": saw}, err
}

func key(id string, i int) string { return id + "/" + strconv.Itoa(i) }
