// Command app is the functions that the process tests kill, stop and confuse: `app shop`, `app bank`, or `app web`, which
// does without SDK. It finds the sidecar by BELDI_ADDRESS or BELDI_URL, and what the tests want of it by APP_DIR.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	beldi "github.com/beldi/beldi/clients/go"
)

func main() {
	programs := map[string]func() error{
		"shop": func() error { return shop().Run(context.Background()) },
		"bank": func() error { return bank().Run(context.Background()) },
		"web":  web,
	}
	if len(os.Args) != 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: app shop|bank|web")
		os.Exit(2)
	}
	if err := programs[os.Args[1]](); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func shop() *beldi.Service {
	s := beldi.NewService("shop")
	beldi.Handle(s, "order", order)
	beldi.Handle(s, "steps", steps)
	beldi.Handle(s, "blob", blob)
	beldi.Handle(s, "echo", func(_ *beldi.Context, v beldi.Value) (beldi.Value, error) { return v, nil })
	beldi.Handle(s, "fail", func(*beldi.Context, any) (any, error) { return nil, beldi.Fail("sold out", beldi.Code("SOLD_OUT")) })
	beldi.Handle(s, "panic", func(*beldi.Context, any) (any, error) { panic("a mistake in the function") })
	beldi.Handle(s, "exit", func(*beldi.Context, any) (any, error) { os.Exit(7); return nil, nil })
	beldi.Handle(s, "hang", func(*beldi.Context, any) (any, error) { select {} })
	return s
}

func bank() *beldi.Service {
	s := beldi.NewService("bank")
	beldi.Handle(s, "pay", pay)
	return s
}

const increment = "found ? value + 1 : 1"

// pay counts the payments of a key, and all.
func pay(ctx *beldi.Context, key string) (int, error) {
	if err := ctx.Update("payments", key, increment, nil); err != nil {
		return 0, err
	}
	return beldi.Update[int](ctx, "count", "payments", increment, nil)
}

type receipt struct {
	Ticket, Paid, Noted int
	Token, ID           string
}

// order takes each kind of step once. Whatever is doubled or lost shows in a table, in the result, or in the file that
// stands for the world outside.
func order(ctx *beldi.Context, key string) (r receipt, err error) {
	if r.Ticket, err = beldi.Update[int](ctx, "count", "orders", increment, nil); err != nil {
		return r, err
	}
	if err = ctx.Write("orders", key, r.Ticket); err != nil {
		return r, err
	}
	seen, found, err := beldi.Read[int](ctx, "orders", key)
	if err != nil {
		return r, err
	}
	if !found || seen != r.Ticket {
		return r, beldi.Fail(fmt.Sprintf("wrote %d, read %d %t", r.Ticket, seen, found))
	}
	first, err := ctx.CondWrite("once", key, r.Ticket, "!found")
	if err != nil {
		return r, err
	}
	if !first {
		return r, beldi.Fail("the order was there before")
	}
	if r.Paid, err = beldi.Invoke[int](ctx, "bank/pay", key); err != nil {
		return r, err
	}
	note, err := ctx.Start("bank/pay", key+" note")
	if err != nil {
		return r, err
	}
	if r.Token, err = outside(ctx, func() {}); err != nil {
		return r, err
	}
	if r.ID, err = ctx.UUID(); err != nil {
		return r, err
	}
	r.Noted, err = beldi.Await[int](ctx, note)
	return r, err
}

// outside leaves a line in the world outside, and returns its token.
func outside(ctx *beldi.Context, inside func()) (string, error) {
	return beldi.Record(ctx, "outside", func(token string) (string, error) {
		inside()
		f, err := os.OpenFile(filepath.Join(os.Getenv("APP_DIR"), "outside"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(token + "\n")
		return token, errors.Join(err, f.Close())
	})
}

// blob writes so many bytes that no compression makes fewer, the same in each attempt.
func blob(ctx *beldi.Context, in struct {
	Key  string
	Size int
}) (int, error) {
	var seed [32]byte
	copy(seed[:], in.Key)
	data := make([]byte, in.Size)
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	if err := ctx.Write("blobs", in.Key, data); err != nil {
		return 0, err
	}
	return beldi.Update[int](ctx, "count", "blobs", increment, nil)
}
