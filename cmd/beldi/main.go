// Command beldi is the sidecar and the tool to talk to one. Flags and wiring only: what it does lives in the packages
// it calls.
//
// Exit codes: 0 done; 1 the function failed, or the sidecar could not do what was asked; 2 wrong usage or configuration;
// 3 no sidecar, or its store, can be reached; 4 the store is locked by another sidecar; 5 timed out.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/beldi/beldi/internal/config"
)

// version is set by the linker (see the Makefile).
var version = "dev"

type cli struct {
	Run        runCmd        `cmd:"" help:"Run functions with a sidecar and its embedded store: no server, no configuration."`
	Serve      serveCmd      `cmd:"" help:"Run a sidecar alone."`
	Invoke     invokeCmd     `cmd:"" help:"Invoke a function exactly once and print its result."`
	Functions  functionsCmd  `cmd:"" help:"List the functions that have announced themselves."`
	Instances  instancesCmd  `cmd:"" help:"Look at instances and their journals."`
	Cells      cellsCmd      `cmd:"" help:"Read and write the tables of services."`
	Config     configCmd     `cmd:"" help:"Check or show the settings."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Help       helpCmd       `cmd:"" help:"Show help for a command."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// env is what commands get beside their flags.
type env struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// exited is how kong's own exits (--help) leave the parser.
type exited int

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if e := recover(); e != nil {
			left, ok := e.(exited)
			if !ok {
				panic(e)
			}
			code = int(left)
		}
	}()
	vars := kong.Vars{}
	for _, s := range config.Settings {
		vars["help_"+s.Flag] = s.Help
		vars["env_"+s.Flag] = s.Env()
	}
	parser, err := kong.New(&cli{},
		kong.Name("beldi"),
		kong.Description("Exactly-once functions, with their state, beside your code."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		vars)
	if err != nil {
		return report(stderr, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		return report(stderr, usage{err})
	}
	e := &env{ctx, stdin, stdout, stderr}
	return report(stderr, command.Run(e, parser))
}

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(e.stdout, "beldi %s%s %s %s/%s\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

func (c helpCmd) Run(parser *kong.Kong) error {
	_, err := parser.Parse(append(c.Command, "--help"))
	if err != nil {
		return usage{err}
	}
	return errors.New("help: nothing was shown") // --help leaves the parser before it returns
}
