package functions

import (
	"errors"
	"iter"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Crash says after which operation of which attempt the app dies, and how.
type Crash struct {
	Attempt int    `json:"attempt"`
	After   int64  `json:"after"`
	How     string `json:"how"`
}

// Scripted returns operations that are counted, and crash when the script says so.
func Scripted(o Ops, c Crash) Ops { return &scripted{o, c, new(atomic.Int64)} }

var errScripted = errors.New("conformance: scripted crash")

type scripted struct {
	Ops
	crash   Crash
	counted *atomic.Int64 // shared by the branches
}

// did counts an operation that returned err, and returns the error to go on with.
func (s *scripted) did(err error) error {
	if s.counted.Add(1) != s.crash.After || s.Attempt() != s.crash.Attempt {
		return err
	}
	if s.crash.How == "raise" {
		return errScripted
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func (s *scripted) Read(table, key string) (any, error) {
	v, err := s.Ops.Read(table, key)
	return v, s.did(err)
}

func (s *scripted) Write(table, key string, value any) error {
	return s.did(s.Ops.Write(table, key, value))
}

func (s *scripted) Delete(table, key string) error { return s.did(s.Ops.Delete(table, key)) }

func (s *scripted) CondWrite(table, key string, value any, condition string) (bool, error) {
	applied, err := s.Ops.CondWrite(table, key, value, condition)
	return applied, s.did(err)
}

func (s *scripted) Update(table, key, expression string, input any) (any, error) {
	v, err := s.Ops.Update(table, key, expression, input)
	return v, s.did(err)
}

func (s *scripted) List(table, prefix, after string, limit int) ([]Entry, string, error) {
	page, next, err := s.Ops.List(table, prefix, after, limit)
	return page, next, s.did(err)
}

// Keys counts each page at its first key.
func (s *scripted) Keys(table, prefix string, limit int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		n := 0
		for key, err := range s.Ops.Keys(table, prefix, limit) {
			if n%limit == 0 {
				err = s.did(err)
			}
			n++
			if !yield(key, err) {
				return
			}
		}
	}
}

func (s *scripted) Invoke(target string, input any) (any, error) {
	v, err := s.Ops.Invoke(target, input)
	return v, s.did(err)
}

func (s *scripted) Start(target string, input any) (string, error) {
	id, err := s.Ops.Start(target, input)
	return id, s.did(err)
}

func (s *scripted) Await(instance string) (any, error) {
	v, err := s.Ops.Await(instance)
	return v, s.did(err)
}

func (s *scripted) Record(name string, code func(string) (any, error)) (any, error) {
	v, err := s.Ops.Record(name, code)
	return v, s.did(err)
}

func (s *scripted) Now() (time.Time, error) {
	v, err := s.Ops.Now()
	return v, s.did(err)
}

func (s *scripted) Random() (float64, error) {
	v, err := s.Ops.Random()
	return v, s.did(err)
}

func (s *scripted) UUID() (string, error) {
	v, err := s.Ops.UUID()
	return v, s.did(err)
}

func (s *scripted) Fork(branches ...func(Ops) error) error {
	counted := make([]func(Ops) error, len(branches))
	for i, branch := range branches {
		counted[i] = func(o Ops) error { return branch(&scripted{o, s.crash, s.counted}) }
	}
	return s.Ops.Fork(counted...)
}
