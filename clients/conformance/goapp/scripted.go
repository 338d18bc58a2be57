package main

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"

	beldi "github.com/beldi/beldi/clients/go"
)

// crash says after which operation of which attempt the app dies, and how.
type crash struct {
	Attempt int    `json:"attempt"`
	After   int64  `json:"after"`
	How     string `json:"how"`
}

var errScripted = errors.New("conformance: scripted crash")

type counter struct{ atomic.Int64 }

// scripted is a context that counts operations, and crashes when the input says so.
type scripted struct {
	ctx     *beldi.Context
	crash   crash
	counted *counter // shared by the branches
}

// did counts an operation that returned err, and returns the error to go on with.
func (s *scripted) did(err error) error {
	if s.counted.Add(1) != s.crash.After || s.ctx.Attempt() != s.crash.Attempt {
		return err
	}
	if s.crash.How == "raise" {
		return errScripted
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func (s *scripted) write(table, key string, value any) error {
	return s.did(s.ctx.Write(table, key, value))
}

func (s *scripted) delete(table, key string) error { return s.did(s.ctx.Delete(table, key)) }

func (s *scripted) condWrite(table, key string, value any, condition string) (bool, error) {
	applied, err := s.ctx.CondWrite(table, key, value, condition)
	return applied, s.did(err)
}

func (s *scripted) inc(table, key string) (int, error) {
	return update[int](s, table, key, "found ? value + 1 : 1", nil)
}

func update[T any](s *scripted, table, key, expression string, in any) (T, error) {
	v, err := beldi.Update[T](s.ctx, table, key, expression, in)
	return v, s.did(err)
}

// read returns nil for what is absent.
func (s *scripted) read(table, key string) (any, error) {
	v, _, err := beldi.Read[any](s.ctx, table, key)
	return v, s.did(err)
}

func invoke[T any](s *scripted, target string, in any) (T, error) {
	v, err := beldi.Invoke[T](s.ctx, target, in)
	return v, s.did(err)
}

func (s *scripted) start(target string, in any) (beldi.Instance, error) {
	id, err := s.ctx.Start(target, in)
	return id, s.did(err)
}

func await[T any](s *scripted, id beldi.Instance) (T, error) {
	v, err := beldi.Await[T](s.ctx, id)
	return v, s.did(err)
}

func record[T any](s *scripted, name string, code func(string) (T, error)) (T, error) {
	v, err := beldi.Record(s.ctx, name, code)
	return v, s.did(err)
}

// fork runs the branches, and returns the error of the first that has one.
func (s *scripted) fork(branches ...func(*scripted) error) error {
	g := s.ctx.Group()
	for _, branch := range branches {
		g.Go(func(c *beldi.Context) error {
			return branch(&scripted{ctx: c, crash: s.crash, counted: s.counted})
		})
	}
	return g.Wait()
}
