package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

type invokeCmd struct {
	target
	Service string        `arg:"" help:"Service, or SERVICE/FUNCTION."`
	Rest    []string      `arg:"" optional:"" name:"function-and-input" help:"Function, unless it is in the first argument; then the input: JSON, @FILE, or - for standard input. Default: null."`
	Key     string        `help:"Idempotency key: asking again with the same key and input gives the same result." placeholder:"KEY"`
	Start   bool          `help:"Do not wait: print the instance's id."`
	Wait    time.Duration `help:"How long to wait for the result." default:"60s" placeholder:"D"`
}

func (c *invokeCmd) Run(e *env) error {
	service, function, input, err := c.split()
	if err != nil {
		return usage{err}
	}
	in, err := argument(e, input)
	if err != nil {
		return err
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	client := beldiv1.NewFunctionsClient(conn)
	what := fmt.Sprintf("invoke %s/%s", service, function)
	if c.Start {
		started, err := client.Start(e.ctx, &beldiv1.StartRequest{Service: service, Function: function, Input: in, IdempotencyKey: c.Key})
		if err != nil {
			return failed("start"+strings.TrimPrefix(what, "invoke"), err)
		}
		_, err = fmt.Fprintln(e.stdout, started.GetInstance())
		return err
	}
	out, err := client.Invoke(e.ctx, &beldiv1.InvokeRequest{
		Service: service, Function: function, Input: in, IdempotencyKey: c.Key, Wait: durationpb.New(c.Wait),
	})
	if err != nil {
		return failed(what, err)
	}
	return c.print(e, out.GetOutput())
}

// print writes JSON as a line. Other payloads go out as they are, but not to a terminal.
func (c *invokeCmd) print(e *env, out *beldiv1.Payload) error {
	if t := out.GetContentType(); t == "" || t == contentJSON || isTerminal(e.stdout) {
		_, err := fmt.Fprintf(e.stdout, "%s\n", valueJSON(out))
		return err
	}
	_, err := e.stdout.Write(out.GetData())
	return err
}

func (c *invokeCmd) split() (service, function, input string, err error) {
	rest := c.Rest
	service, function, joined := strings.Cut(c.Service, "/")
	if !joined {
		if len(rest) == 0 {
			return "", "", "", fmt.Errorf("invoke: which function of %s?", service)
		}
		function, rest = rest[0], rest[1:]
	}
	switch len(rest) {
	case 0:
		return service, function, "null", nil
	case 1:
		return service, function, rest[0], nil
	}
	return "", "", "", fmt.Errorf("invoke: unexpected argument %q", rest[1])
}

type functionsCmd struct {
	target
	output
}

func (c *functionsCmd) Run(e *env) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := beldiv1.NewFunctionsClient(conn).ListFunctions(e.ctx, &beldiv1.ListFunctionsRequest{})
	if err != nil {
		return failed("list functions", err)
	}
	type row struct {
		Service  string `json:"service"`
		Function string `json:"function"`
		Workers  int32  `json:"workers"`
	}
	rows := make([]row, 0, len(list.GetFunctions()))
	for _, f := range list.GetFunctions() {
		rows = append(rows, row{f.GetService(), f.GetFunction(), f.GetWorkers()})
	}
	return c.print(e, rows, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "SERVICE\tFUNCTION\tWORKERS")
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%s\t%d\n", r.Service, r.Function, r.Workers)
		}
	})
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
