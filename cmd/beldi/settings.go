package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/beldi/beldi/internal/config"
)

// settings are the flags of everything that config.Settings lists. Their help comes from there; a flag that is not
// given is nil, so that the environment and the file count.
type settings struct {
	File           string   `name:"config" help:"Settings file. Default: beldi.yaml, if it is there." env:"BELDI_CONFIG" placeholder:"FILE"`
	Realm          *string  `help:"${help_realm}" placeholder:"NAME"`
	GRPC           *string  `name:"grpc" help:"${help_grpc}" placeholder:"ADDR"`
	HTTP           *string  `name:"http" help:"${help_http}" placeholder:"ADDR"`
	Socket         *string  `help:"${help_socket}" placeholder:"PATH"`
	Store          *string  `help:"${help_store}" placeholder:"KIND"`
	Data           *string  `help:"${help_data}" placeholder:"DIR"`
	Fsync          *bool    `help:"${help_fsync}" negatable:""`
	Cache          *string  `help:"${help_cache}" placeholder:"SIZE"`
	Lease          *string  `help:"${help_lease}" placeholder:"D"`
	AttemptTimeout *string  `help:"${help_attempt-timeout}" placeholder:"D"`
	MaxAttempts    *string  `help:"${help_max-attempts}" placeholder:"N"`
	Token          *string  `help:"${help_token}" placeholder:"TOKEN"`
	OTLP           *string  `name:"otlp" help:"${help_otlp}" placeholder:"ADDR"`
	Service        []string `help:"A service behind an HTTP endpoint: NAME=URL#FUNCTION,FUNCTION." sep:"none" placeholder:"SERVICE"`
}

// given are the flags that are set, by the name they have in config.Settings.
func (s *settings) given() map[string]string {
	flags := map[string]*string{
		"realm": s.Realm, "grpc": s.GRPC, "http": s.HTTP, "socket": s.Socket, "store": s.Store, "data": s.Data,
		"cache": s.Cache, "lease": s.Lease, "attempt-timeout": s.AttemptTimeout, "max-attempts": s.MaxAttempts,
		"token": s.Token, "otlp": s.OTLP,
	}
	if s.Fsync != nil {
		text := fmt.Sprint(*s.Fsync)
		flags["fsync"] = &text
	}
	if len(s.Service) > 0 {
		text := strings.Join(s.Service, " ")
		flags[config.Services] = &text
	}
	set := map[string]string{}
	for name, text := range flags {
		if text != nil {
			set[name] = *text
		}
	}
	return set
}

func (s *settings) load() (*config.Loaded, error) {
	loaded, err := config.Load(config.Source{File: s.File, Env: os.LookupEnv, Flags: s.given()})
	if err != nil {
		if mistakes := (config.Mistakes)(nil); errors.As(err, &mistakes) {
			return nil, err
		}
		return nil, usage{err}
	}
	return loaded, nil
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Say all that is wrong with the settings."`
	Show  configShowCmd  `cmd:"" help:"Print the settings in force, and where each comes from."`
}

type configCheckCmd struct{ settings }

func (c *configCheckCmd) Run(e *env) error {
	loaded, err := c.load()
	if err != nil {
		return err
	}
	file := loaded.File
	if file == "" {
		file = "no file"
	}
	_, err = fmt.Fprintf(e.stdout, "ok (%s)\n", file)
	return err
}

type configShowCmd struct{ settings }

func (c *configShowCmd) Run(e *env) error {
	loaded, err := c.load()
	if err != nil {
		return err
	}
	return loaded.Show(e.stdout)
}
