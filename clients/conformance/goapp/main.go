// Command goapp is the conformance app of the Go SDK: see clients/conformance/README.md, which describes every function.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	beldi "github.com/beldi/beldi/clients/go"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "client" {
		if err := client(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "goapp:", err)
			os.Exit(1)
		}
		return
	}
	s := beldi.NewService(os.Getenv("CONFORMANCE_SERVICE"))
	beldi.Handle(s, "echo", func(_ *beldi.Context, v beldi.Value) (beldi.Value, error) { return v, nil })
	for name, fn := range functions {
		beldi.Handle(s, name, func(ctx *beldi.Context, in input) (any, error) {
			return fn(&scripted{ctx: ctx, crash: in.Crash, counted: new(counter)}, in)
		})
	}
	if err := s.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "goapp:", err)
		os.Exit(1)
	}
}

// input is what every function but echo takes.
type input struct {
	ID    string `json:"id"`
	Crash crash  `json:"crash"`

	Value  any    `json:"value"`
	Values []any  `json:"values"`
	Size   int    `json:"size"`
	By     int64  `json:"by"`
	Peer   string `json:"peer"`
	N      int    `json:"n"`
	Times  int    `json:"times"`
	How    string `json:"how"`
}

// reason returns what the app reports of an error that it expects.
func reason(err error) string {
	var e *beldi.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return fmt.Sprint(err)
}
