package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	beldi "github.com/beldi/beldi/clients/go"
)

// object is a JSON object.
type object map[string]any

var functions = map[string]func(*scripted, input) (any, error){
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

func about(s *scripted, _ input) (any, error) {
	return object{"service": s.ctx.Service(), "function": s.ctx.Function(), "instance": s.ctx.Instance(), "attempt": s.ctx.Attempt()}, nil
}

func cells(s *scripted, in input) (any, error) {
	before, err := s.read("cells", in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.write("cells", in.ID, in.Value); err != nil {
		return nil, err
	}
	after, err := s.read("cells", in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.delete("cells", in.ID); err != nil {
		return nil, err
	}
	deleted, err := s.read("cells", in.ID)
	if err != nil {
		return nil, err
	}
	return object{"before": before, "after": after, "deleted": deleted}, s.write("cells", in.ID+"/kept", in.Value)
}

func values(s *scripted, in input) (any, error) {
	for i, v := range in.Values {
		if err := s.write("values", key(in.ID, i), v); err != nil {
			return nil, err
		}
	}
	read := make([]any, len(in.Values))
	for i := range in.Values {
		v, err := s.read("values", key(in.ID, i))
		if err != nil {
			return nil, err
		}
		read[i] = v
	}
	return read, nil
}

func rawBytes(s *scripted, in input) (any, error) {
	data := make([]byte, in.Size)
	for i := range data {
		data[i] = byte(i)
	}
	if err := s.write("bytes", in.ID, data); err != nil {
		return nil, err
	}
	v, _, err := beldi.Read[[]byte](s.ctx, "bytes", in.ID)
	return v, s.did(err)
}

func cond(s *scripted, in input) (any, error) {
	if err := s.write("cond", in.ID, object{"free": 1}); err != nil {
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
		applied, err := s.condWrite("cond", c.key, object{"free": c.free}, c.condition)
		if err != nil {
			return nil, err
		}
		results = append(results, applied)
	}
	return results, nil
}

func updates(s *scripted, in input) (any, error) {
	a, err := s.inc("counters", in.ID)
	if err != nil {
		return nil, err
	}
	b, err := update[int64](s, "counters", in.ID, "value + input", int64(9007199254740992))
	return []int64{int64(a), b}, err
}

func add(s *scripted, in input) (any, error) {
	return update[int64](s, "counters", in.ID, "(found ? value : 0) + input", in.By)
}

func list(s *scripted, in input) (any, error) {
	for i := range 5 {
		if err := s.write("lists", key(in.ID, i), object{"n": i}); err != nil {
			return nil, err
		}
	}
	q := beldi.Query{Prefix: in.ID + "/", Limit: 2}
	var pages [][][2]any
	for first := true; first || q.After != ""; first = false {
		entries, next, err := beldi.List[any](s.ctx, "lists", q)
		if err := s.did(err); err != nil {
			return nil, err
		}
		var page [][2]any
		for _, e := range entries {
			page = append(page, [2]any{e.Key, e.Value})
		}
		pages = append(pages, page)
		q.After = next
	}
	keys := []string{}
	for k, err := range s.ctx.Keys("lists", beldi.Query{Prefix: in.ID + "/", Limit: 2}) {
		// Each page is counted at its first key.
		if len(keys)%2 == 0 {
			err = s.did(err)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return object{"pages": pages, "keys": keys}, nil
}

func invokes(s *scripted, in input) (any, error) {
	var results []int
	for _, call := range []struct {
		target, id string
		by         int
	}{
		{"add", in.ID + "/own", 1},
		{s.ctx.Service() + "/add", in.ID + "/own", 2},
		{in.Peer + "/add", in.ID + "/peer", 5},
	} {
		v, err := invoke[int](s, call.target, object{"id": call.id, "by": call.by})
		if err != nil {
			return nil, err
		}
		results = append(results, v)
	}
	return results, s.write("invoked", in.ID, results)
}

func starts(s *scripted, in input) (any, error) {
	x, err := s.start("add", object{"id": in.ID + "/x", "by": 1})
	if err != nil {
		return nil, err
	}
	y, err := s.start("add", object{"id": in.ID + "/y", "by": 10})
	if err != nil {
		return nil, err
	}
	b, err := await[int](s, y)
	if err != nil {
		return nil, err
	}
	a, err := await[int](s, x)
	if err != nil {
		return nil, err
	}
	c, err := await[int](s, x)
	return []int{a, b, c}, err
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

func records(s *scripted, in input) (any, error) {
	if err := s.write("record", in.ID, "before"); err != nil {
		return nil, err
	}
	v, err := record(s, "pay", func(token string) (object, error) {
		return object{"paid": 7, "token": token}, ran(in.ID, token)
	})
	if err != nil {
		return nil, err
	}
	applied, err := s.condWrite("record", in.ID, v, "value == 'before'")
	return object{"value": v, "applied": applied}, err
}

func recordFailure(s *scripted, in input) (any, error) {
	if err := s.write("record", in.ID, "before"); err != nil {
		return nil, err
	}
	_, err := record(s, "charge", func(token string) (any, error) {
		if err := ran(in.ID, token); err != nil {
			return nil, err
		}
		return nil, beldi.Fail("card declined", beldi.Code("DECLINED"), beldi.Details(object{"left": 3}))
	})
	result, err := caught(err)
	if err != nil {
		return nil, err
	}
	result["applied"], err = s.condWrite("record", in.ID, result["code"], "value == 'before'")
	return result, err
}

// caught returns the parts of a failure, and any other error.
func caught(err error) (object, error) {
	var f *beldi.Failure
	if !errors.As(err, &f) {
		return nil, fmt.Errorf("want a failure, got %w", err)
	}
	var details any
	if err := f.Details.Decode(&details); err != nil {
		return nil, err
	}
	return object{"message": f.Message, "code": f.Code, "details": details}, nil
}

func recordRaise(s *scripted, in input) (any, error) {
	return record(s, "flaky", func(token string) (string, error) {
		if err := ran(in.ID, token); err != nil {
			return "", err
		}
		if s.ctx.Attempt() == 1 {
			return "", errors.New("conformance: flaky")
		}
		return "done", nil
	})
}

func ambient(s *scripted, in input) (any, error) {
	stamp := func() (string, error) {
		t, err := s.ctx.Now()
		return t.Format("2006-01-02T15:04:05.000Z"), s.did(err)
	}
	now, err := stamp()
	if err != nil {
		return nil, err
	}
	random, err := s.ctx.Random()
	if err := s.did(err); err != nil {
		return nil, err
	}
	uuid, err := s.ctx.UUID()
	if err := s.did(err); err != nil {
		return nil, err
	}
	later, err := stamp()
	if err != nil {
		return nil, err
	}
	v := object{"now": now, "random": random, "uuid": uuid, "later": later}
	if err := s.write("ambient", in.ID, v); err != nil {
		return nil, err
	}
	_, err = s.read("ambient", in.ID)
	return v, err
}

func branches(s *scripted, in input) (any, error) {
	if err := s.write("branches", in.ID, "start"); err != nil {
		return nil, err
	}
	var left [4]any
	var right any
	err := s.fork(
		func(c *scripted) (err error) {
			if left[0], err = c.inc("branches", in.ID+"/1"); err != nil {
				return err
			}
			err = c.fork(
				func(d *scripted) (err error) {
					left[1], err = d.inc("branches", in.ID+"/1/1")
					return err
				},
				func(d *scripted) (err error) {
					if err := d.write("branches", in.ID+"/1/2", "x"); err != nil {
						return err
					}
					left[2], err = d.read("branches", in.ID+"/1/2")
					return err
				})
			if err != nil {
				return err
			}
			left[3], err = c.inc("branches", in.ID+"/1")
			return err
		},
		func(c *scripted) (err error) {
			if err := c.write("branches", in.ID+"/2", 2); err != nil {
				return err
			}
			right, err = c.read("branches", in.ID+"/2")
			return err
		})
	if err != nil {
		return nil, err
	}
	return []any{left, right}, s.write("branches", in.ID, "end")
}

func fan(s *scripted, in input) (any, error) {
	results := make([]any, in.N)
	var branches []func(*scripted) error
	for i := range in.N {
		delay := time.Duration((i*7+s.ctx.Attempt()*3)%8) * 5 * time.Millisecond
		branches = append(branches, func(c *scripted) (err error) {
			time.Sleep(delay)
			if _, err := c.inc("fan", key(in.ID, i)); err != nil {
				return err
			}
			time.Sleep(delay)
			results[i], err = c.read("fan", key(in.ID, i))
			return err
		})
	}
	return results, s.fork(branches...)
}

func fanOut(s *scripted, in input) (any, error) {
	results := make([]int, in.N)
	var branches []func(*scripted) error
	for i := range in.N {
		branches = append(branches, func(c *scripted) (err error) {
			results[i], err = invoke[int](c, "add", object{"id": key(in.ID, i), "by": i})
			return err
		})
	}
	err := s.fork(branches...)
	sum := 0
	for _, r := range results {
		sum += r
	}
	return sum, err
}

func fail(s *scripted, in input) (any, error) {
	if err := s.write("fail", in.ID, "written"); err != nil {
		return nil, err
	}
	return nil, beldi.Fail("sold out", beldi.Code("SOLD_OUT"), beldi.Details(object{"free": 0, "order": int64(9007199254740993)}))
}

func failCaught(s *scripted, in input) (any, error) {
	_, err := invoke[any](s, "fail", object{"id": in.ID + "/callee"})
	result, err := caught(err)
	if err != nil {
		return nil, err
	}
	x, err := s.start("fail", object{"id": in.ID + "/started"})
	if err != nil {
		return nil, err
	}
	_, err = await[any](s, x)
	started, err := caught(err)
	if err != nil {
		return nil, err
	}
	result["started"] = started["code"]
	if err := s.write("fail", in.ID, result["code"]); err != nil {
		return nil, err
	}
	result["cell"], err = s.read("fail", in.ID)
	return result, err
}

func failUncaught(s *scripted, in input) (any, error) {
	return invoke[any](s, "fail", object{"id": in.ID + "/callee"})
}

func crashes(s *scripted, in input) (any, error) {
	if _, err := s.inc("crash", in.ID); err != nil {
		return nil, err
	}
	v, err := s.read("crash", in.ID)
	if err == nil && s.ctx.Attempt() <= in.Times {
		err = errors.New("conformance: crash")
	}
	return v, err
}

func limits(s *scripted, in input) (any, error) {
	if err := s.write("limits", in.ID, strings.Repeat("x", 262142)); err != nil {
		return nil, err
	}
	a := s.ctx.Write("limits", in.ID, strings.Repeat("x", 262143))
	b := s.ctx.Write("limits", strings.Repeat("k", 1025), 1)
	_, c := beldi.Invoke[any](s.ctx, "echo", strings.Repeat("x", 1048575))
	return []string{reason(a), reason(b), reason(c)}, nil
}

func badExpression(s *scripted, in input) (any, error) {
	if err := s.write("expressions", in.ID, "text"); err != nil {
		return nil, err
	}
	_, err := s.condWrite("expressions", in.ID, 1, "value +")
	if err == errScripted {
		return nil, err
	}
	a := reason(err)
	_, err = update[any](s, "expressions", in.ID, "value + 1", nil)
	if err == errScripted {
		return nil, err
	}
	b := reason(err)
	v, err := s.read("expressions", in.ID)
	return []any{a, b, v}, err
}

func diverge(s *scripted, in input) (any, error) {
	how := in.How
	if s.ctx.Attempt() == 1 {
		how = ""
	}
	var err error
	switch how {
	case "operation":
		_, err = s.ctx.Now()
		err = s.did(err)
	case "key":
		_, err = s.read("diverge", in.ID+"/other")
	case "missing":
	default:
		_, err = s.read("diverge", in.ID)
	}
	if err != nil {
		return nil, err
	}
	value := 1
	if how == "argument" {
		value = 2
	}
	if _, err := s.condWrite("diverge", in.ID+"/1", value, "true"); err != nil {
		return nil, err
	}
	if _, err := s.inc("diverge", in.ID+"/2"); err != nil {
		return nil, err
	}
	if s.ctx.Attempt() == 1 {
		return nil, errors.New("conformance: crash")
	}
	return 0, nil
}

// stopped holds the ids whose first attempt saw that it was over.
var stopped sync.Map

func cancelled(s *scripted, in input) (any, error) {
	if _, err := s.inc("cancelled", in.ID); err != nil {
		return nil, err
	}
	if s.ctx.Attempt() == 1 {
		select {
		case <-s.ctx.Done():
		case <-time.After(time.Minute):
			return nil, errors.New("conformance: the attempt was not stopped")
		}
		_, err := s.read("cancelled", in.ID)
		if errors.Is(err, beldi.ErrAttemptOver) {
			stopped.Store(in.ID, true)
		}
		return nil, err
	}
	v, err := s.read("cancelled", in.ID)
	_, saw := stopped.Load(in.ID)
	return object{"value": v, "stopped": saw}, err
}

func key(id string, i int) string { return id + "/" + strconv.Itoa(i) }
