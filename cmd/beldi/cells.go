package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

type cellsCmd struct {
	Get    cellsGetCmd    `cmd:"" help:"Print a cell's value."`
	Put    cellsPutCmd    `cmd:"" help:"Write or delete a cell, as a function would."`
	List   cellsListCmd   `cmd:"" help:"List cells."`
	Import cellsImportCmd `cmd:"" help:"Write cells from JSON lines: {\"service\", \"table\", \"key\", \"value\"}."`
	Export cellsExportCmd `cmd:"" help:"Print cells as JSON lines."`
}

// line is one cell in import and export.
type line struct {
	Service string          `json:"service"`
	Table   string          `json:"table"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
}

type cellName struct {
	Service string `arg:"" help:"Service."`
	Table   string `arg:"" help:"Table."`
	Key     string `arg:"" help:"Key."`
}

func (n cellName) String() string { return fmt.Sprintf("%s %s %s", n.Service, n.Table, n.Key) }

type cellsGetCmd struct {
	target
	cellName
}

func (c *cellsGetCmd) Run(e *env) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	what := "get cell " + c.String()
	got, err := beldiv1.NewAdminClient(conn).GetCell(e.ctx, &beldiv1.GetCellRequest{Service: c.Service, Table: c.Table, Key: c.Key})
	if err != nil {
		return failed(what, err)
	}
	if !got.GetFound() {
		return fmt.Errorf("%s: there is none", what)
	}
	_, err = fmt.Fprintf(e.stdout, "%s\n", valueJSON(got.GetValue()))
	return err
}

type cellsPutCmd struct {
	target
	cellName
	Value  string `arg:"" optional:"" help:"JSON, @FILE, or - for standard input."`
	Delete bool   `help:"Delete the cell."`
	Repeat string `name:"idempotency-key" help:"Asking again with the same key and value changes nothing." placeholder:"KEY"`
}

func (c *cellsPutCmd) Run(e *env) error {
	if c.Delete == (c.Value != "") {
		return usage{errors.New("cells put: want a value, or --delete")}
	}
	cell := &beldiv1.Cell{Service: c.Service, Table: c.Table, Key: c.Key}
	if !c.Delete {
		value, err := argument(e, c.Value)
		if err != nil {
			return err
		}
		cell.Value = value
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = beldiv1.NewAdminClient(conn).PutCells(e.ctx, &beldiv1.PutCellsRequest{Cells: []*beldiv1.Cell{cell}, IdempotencyKey: c.Repeat})
	if err != nil {
		return failed("put cell "+c.String(), err)
	}
	return nil
}

type cellsListCmd struct {
	target
	output
	Service string `arg:"" help:"Service."`
	Table   string `arg:"" optional:"" help:"Table. Default: all of them."`
	Prefix  string `help:"Only keys that begin with this." placeholder:"TEXT"`
	Limit   int    `help:"At most this many." default:"100" placeholder:"N"`
}

func (c *cellsListCmd) Run(e *env) error {
	if c.Limit < 1 {
		return usage{fmt.Errorf("cells list: --limit %d; want at least 1", c.Limit)}
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	rows := []line{}
	more := false
	err = eachCell(e.ctx, beldiv1.NewAdminClient(conn),
		&beldiv1.ListCellsRequest{Service: c.Service, Table: c.Table, Prefix: c.Prefix, Limit: int32(min(pageSize, c.Limit+1))},
		func(l line) error {
			if more = len(rows) == c.Limit; more {
				return errEnough
			}
			rows = append(rows, l)
			return nil
		})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	err = c.print(e, rows, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "TABLE\tKEY\tVALUE")
		for _, l := range rows {
			fmt.Fprintf(w, "%s\t%s\t%s\n", l.Table, l.Key, cut(string(l.Value), 100))
		}
	})
	if err == nil && more && c.Output == "table" {
		_, err = fmt.Fprintf(e.stderr, "There are more; --limit shows them.\n")
	}
	return err
}

var errEnough = errors.New("enough")

// eachCell calls do for every cell that the request matches, page by page.
func eachCell(ctx context.Context, admin beldiv1.AdminClient, req *beldiv1.ListCellsRequest, do func(line) error) error {
	for {
		page, err := admin.ListCells(ctx, req)
		if err != nil {
			return failed("list cells of "+req.GetService(), err)
		}
		for _, c := range page.GetCells() {
			if err := do(line{c.GetService(), c.GetTable(), c.GetKey(), valueJSON(c.GetValue())}); err != nil {
				return err
			}
		}
		if req.After = page.GetNext(); req.After == "" {
			return nil
		}
	}
}

type cellsExportCmd struct {
	target
	Service string `arg:"" optional:"" help:"Service. Default: every service that has announced functions."`
	Table   string `arg:"" optional:"" help:"Table. Default: all of them."`
	File    string `short:"f" help:"File to write. Default: standard output." placeholder:"FILE" type:"path"`
}

func (c *cellsExportCmd) Run(e *env) (err error) {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	services := []string{c.Service}
	if c.Service == "" {
		list, err := beldiv1.NewFunctionsClient(conn).ListFunctions(e.ctx, &beldiv1.ListFunctionsRequest{})
		if err != nil {
			return failed("list functions", err)
		}
		services = nil
		for _, f := range list.GetFunctions() {
			services = append(services, f.GetService())
		}
		slices.Sort(services)
		services = slices.Compact(services)
		if len(services) == 0 {
			return usage{errors.New("export cells: no service has announced functions here; name the services to export")}
		}
	}
	to := e.stdout
	if c.File != "" {
		f, err := os.Create(c.File)
		if err != nil {
			return fmt.Errorf("export cells: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		to = f
	}
	out := bufio.NewWriter(to)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	bar := newProgress(e, "cells", -1)
	defer bar.end()
	for _, service := range services {
		err := eachCell(e.ctx, beldiv1.NewAdminClient(conn),
			&beldiv1.ListCellsRequest{Service: service, Table: c.Table, Limit: pageSize},
			func(l line) error { bar.add(1); return enc.Encode(l) })
		if err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export cells: %w", err)
	}
	// Which services they were is not obvious if none was named.
	_, err = fmt.Fprintf(e.stderr, "%d cells of %s\n", bar.done, strings.Join(services, ", "))
	return err
}

type cellsImportCmd struct {
	target
	File string `arg:"" optional:"" default:"-" help:"JSON lines; - is standard input."`
}

// A batch of an import is one instance, and its cells are the instance's input: at most batchBytes of the 1 MiB that
// an input may have.
const (
	batchCells = 200
	batchBytes = 512 << 10
	maxLine    = 4 << 20
)

func (c *cellsImportCmd) Run(e *env) error {
	from, name, size := e.stdin, "standard input", int64(-1)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usage{fmt.Errorf("import cells: %w", err)}
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		from, name = f, c.File
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	in := importer{
		ctx: e.ctx, admin: beldiv1.NewAdminClient(conn), name: name,
		// A new key each time: the same file imported again must write again. Batches are retried under their own key.
		key: "import-" + uuid.NewString(),
		bar: newProgress(e, "bytes", size),
	}
	defer in.bar.end()
	if err := in.read(from); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "%d cells\n", in.written)
	return err
}

type importer struct {
	ctx     context.Context
	admin   beldiv1.AdminClient
	name    string
	key     string
	bar     *progress
	batch   []*beldiv1.Cell
	bytes   int
	batches int
	written int64
}

func (in *importer) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) > 0 {
			cell, err := parseLine(lines.Bytes())
			if err != nil {
				return usage{fmt.Errorf("import cells: %s:%d: %w (%d cells before it are written)", in.name, n, err, in.written)}
			}
			size := len(lines.Bytes())
			if len(in.batch) == batchCells || in.bytes+size > batchBytes {
				if err := in.flush(); err != nil {
					return err
				}
			}
			in.batch = append(in.batch, cell)
			in.bytes += size
		}
		in.bar.add(len(lines.Bytes()) + 1)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("import cells: read %s: %w", in.name, err)
	}
	return in.flush()
}

func parseLine(text []byte) (*beldiv1.Cell, error) {
	var l line
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return nil, err
	}
	if l.Service == "" || l.Table == "" || l.Key == "" || l.Value == nil {
		return nil, errors.New(`want {"service", "table", "key", "value"}, none of them empty`)
	}
	value, err := payload(l.Value)
	if err != nil {
		return nil, err
	}
	return &beldiv1.Cell{Service: l.Service, Table: l.Table, Key: l.Key, Value: value}, nil
}

// flush writes the batch. Its key makes repeating it harmless, so it is repeated while the sidecar is away for a moment.
func (in *importer) flush() error {
	if len(in.batch) == 0 {
		return nil
	}
	in.batches++
	req := &beldiv1.PutCellsRequest{Cells: in.batch, IdempotencyKey: fmt.Sprintf("%s-%d", in.key, in.batches)}
	for try := 1; ; try++ {
		done, err := in.admin.PutCells(in.ctx, req)
		if err == nil {
			in.written += done.GetWritten()
			in.batch, in.bytes = nil, 0
			return nil
		}
		if try == 5 || status.Code(err) != codes.Unavailable {
			return failed(fmt.Sprintf("import cells: %s, after %d cells", in.name, in.written), err)
		}
		select {
		case <-time.After(time.Duration(try) * 200 * time.Millisecond):
		case <-in.ctx.Done():
		}
	}
}
