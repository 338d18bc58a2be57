package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	beldi "github.com/beldi/beldi/clients/go"
)

// stepsInput: Point is where the test wants to hold the function; it decides that, not the function.
type stepsInput struct{ Op, Point, Key string }

// steps takes one step of a kind between two gates, and counts where it begins and where it ends.
func steps(ctx *beldi.Context, in stepsInput) (result string, err error) {
	g := gate{Wanted: in.Point, Op: in.Op, Attempt: ctx.Attempt()}
	defer func() {
		g.Error = ""
		if err != nil {
			g.Error = err.Error()
		}
		g.Over = errors.Is(err, beldi.ErrAttemptOver)
		g.pass("end")
	}()
	if err := ctx.Update("begun", in.Key, increment, nil); err != nil {
		return "", err
	}
	var started beldi.Instance
	if in.Op == "await" {
		if started, err = ctx.Start("bank/pay", in.Key); err != nil {
			return "", err
		}
	}
	g.pass("before")
	if result, err = step(ctx, in, &g, started); err != nil {
		return "", err
	}
	if in.Op == "complete" {
		return result, nil
	}
	g.pass("after")
	return result, ctx.Update("ended", in.Key, increment, nil)
}

func step(ctx *beldi.Context, in stepsInput, g *gate, started beldi.Instance) (string, error) {
	switch in.Op {
	case "read":
		n, found, err := beldi.Read[int](ctx, "begun", in.Key)
		return fmt.Sprint(n, found), err
	case "write":
		return "written", ctx.Write("written", in.Key, "value")
	case "condWrite":
		ok, err := ctx.CondWrite("written", in.Key, "value", "!found")
		return fmt.Sprint(ok), err
	case "update":
		n, err := beldi.Update[int](ctx, "updated", in.Key, increment, nil)
		return fmt.Sprint(n), err
	case "invoke":
		_, err := beldi.Invoke[int](ctx, "bank/pay", in.Key)
		return "paid", err
	case "start":
		_, err := ctx.Start("bank/pay", in.Key)
		return "started", err
	case "await":
		_, err := beldi.Await[int](ctx, started)
		return "paid", err
	case "record":
		return outside(ctx, func() { g.pass("inside") })
	case "complete":
		return "done", ctx.Update("ended", in.Key, increment, nil)
	}
	return "", beldi.Fail("no such step: " + in.Op)
}

// gate is a place where a test can hold a function. The function says where it is, and goes on when it is told to.
type gate struct {
	Point, Wanted, Op, Error string
	Token                    string // of an attempt by HTTP
	Attempt                  int
	Over                     bool
}

func (g *gate) pass(point string) {
	g.Point = point
	conn, err := net.Dial("unix", filepath.Join(os.Getenv("APP_DIR"), "gate"))
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(g); err != nil {
		panic(err)
	}
	_, _ = conn.Read(make([]byte, 1)) // the test's death is a release, too
}
