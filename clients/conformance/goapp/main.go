// Command goapp is the conformance app of the Go SDK: see clients/conformance/README.md.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/beldi/beldi/clients/conformance/functions"
	beldi "github.com/beldi/beldi/clients/go"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "goapp:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 && os.Args[1] == "client" {
		return client(context.Background(), os.Stdin, os.Stdout)
	}
	s := beldi.NewService(os.Getenv("CONFORMANCE_SERVICE"))
	beldi.Handle(s, "echo", func(_ *beldi.Context, v beldi.Value) (beldi.Value, error) { return v, nil })
	for name, fn := range functions.All {
		beldi.Handle(s, name, func(ctx *beldi.Context, in functions.Input) (any, error) {
			output, err := fn(functions.Scripted(sdk{ctx}, in.Crash), in)
			return output, outward(err)
		})
	}
	return s.Run(context.Background())
}
