package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// cellsFunction writes cells for operators. It is an ordinary function of the cells' own service – its worker is in this process – so that
// what operators write is under the same protocol as what functions write.
const cellsFunction = "$cells"

// maxCellsBatch is about how many bytes one instance of it writes.
const maxCellsBatch = 512 << 10

// cellsInput is its input.
type cellsInput struct {
	// Request identifies the whole PutCells: a key that comes again with other cells is KEY_REUSED from the first batch on.
	Request string      `json:"request"`
	Cells   []cellWrite `json:"cells"`
}

type cellWrite struct {
	Table  string `json:"table"`
	Key    string `json:"key"`
	Delete bool   `json:"delete,omitempty"`
	Data   []byte `json:"data,omitempty"`
	Type   string `json:"type,omitempty"`
}

// cellsWorker runs cellsFunction.
type cellsWorker struct{}

func (cellsWorker) Run(a *intent.Attempt) {
	var in cellsInput
	if err := json.Unmarshal(a.Input.Data, &in); err != nil {
		a.Submit([]intent.StepRequest{{Op: crashOp(fmt.Sprintf("input of %s: %v", cellsFunction, err), "")}})
		return
	}
	steps := make([]intent.StepRequest, 0, len(in.Cells)+1)
	for i, c := range in.Cells {
		op := intent.Op{Kind: intent.OpWrite, Table: c.Table, Key: c.Key, Value: daal.Value{Data: c.Data, Type: c.Type}}
		if c.Delete {
			op = intent.Op{Kind: intent.OpDelete, Table: c.Table, Key: c.Key}
		}
		steps = append(steps, intent.StepRequest{Step: daal.Step(strconv.Itoa(i + 1)), Op: op})
	}
	a.Submit(append(steps, intent.StepRequest{Op: intent.Op{Kind: intent.OpComplete, Value: daal.JSON("null")}}))
}

func (cellsWorker) Answer(*intent.Attempt, daal.Step, intent.Outcome) {} // writes and the end need none
func (cellsWorker) Cancel(*intent.Attempt, error)                     {} // Run has returned

// cellsAttachments knows the services that have the function in this process.
type cellsAttachments struct {
	mu       sync.Mutex
	services map[string]*intent.Attachment
}

func (s *Server) attachCells(service string) error {
	s.cells.mu.Lock()
	defer s.cells.mu.Unlock()
	if s.cells.services[service] != nil {
		return nil
	}
	at, err := s.o.Runtime.Attach(service, []string{cellsFunction}, 0, cellsWorker{})
	if err != nil {
		return err
	}
	s.cells.services[service] = at
	return nil
}

// resumeCells finishes what a PutCells of an earlier sidecar has begun.
func (s *Server) resumeCells(ctx context.Context) error {
	list, err := s.o.Runtime.Functions(ctx)
	if err != nil {
		return fmt.Errorf("server: look for unfinished writes of operators: %w", err)
	}
	for _, fn := range list {
		if fn.Function.Name == cellsFunction {
			if err := s.attachCells(fn.Function.Service); err != nil {
				return fmt.Errorf("server: resume writes of operators to %s: %w", fn.Function.Service, err)
			}
		}
	}
	return nil
}

func (s adminService) PutCells(ctx context.Context, m *beldiv1.PutCellsRequest) (*beldiv1.PutCellsResponse, error) {
	if s.isDraining() {
		return nil, errDraining
	}
	key, f := idempotencyKey(ctx, m.GetIdempotencyKey())
	if f != nil {
		return nil, f
	}
	if key == "" {
		key = uuid.NewString()
	}
	batches, f := cellBatches(m)
	if f != nil {
		return nil, f
	}
	ctx, cancel, f := waiting(ctx, nil)
	if f != nil {
		return nil, f
	}
	defer cancel()
	for i, b := range batches {
		if err := s.attachCells(b.service); err != nil {
			return nil, faultOf(err)
		}
		input, err := json.Marshal(b.input)
		if err != nil {
			return nil, faultOf(fmt.Errorf("server: encode cells: %w", err))
		}
		fn := intent.Function{Service: b.service, Name: cellsFunction}
		// The number is part of the key, not of the function: each batch is an instance of its own. The batches of other services count along.
		id := keyedInstance(fn, key+"\x00"+strconv.Itoa(i))
		result, err := s.o.Runtime.Invoke(ctx, intent.Request{ID: id, Function: fn, Input: daal.Value{Data: input}, Trace: header(ctx, mdTraceparent)})
		if err == nil {
			err = result.Err()
		}
		if err != nil {
			return nil, about(err, id)
		}
	}
	return &beldiv1.PutCellsResponse{Written: int64(len(m.GetCells()))}, nil
}

type cellBatch struct {
	service string
	input   cellsInput
	size    int
}

// cellBatches checks the cells and groups them: runs of one service, bounded in size, in the order of the request.
func cellBatches(m *beldiv1.PutCellsRequest) ([]*cellBatch, *fault) {
	whole, err := proto.MarshalOptions{Deterministic: true}.Marshal(&beldiv1.PutCellsRequest{Cells: m.GetCells()})
	if err != nil {
		return nil, malformed("cells: %v", err)
	}
	sum := sha256.Sum256(whole)
	request := hex.EncodeToString(sum[:16])
	var batches []*cellBatch
	for i, c := range m.GetCells() {
		f := checkName("service", c.GetService())
		if f == nil {
			f = checkCell(c.GetTable(), c.GetKey())
		}
		w := cellWrite{Table: c.GetTable(), Key: c.GetKey(), Delete: c.GetValue() == nil}
		if f == nil && !w.Delete {
			var v daal.Value
			v, f = valueOf("value", c.GetValue(), maxValue)
			w.Data, w.Type = v.Data, v.Type
		}
		if f != nil {
			return nil, refuse(f.reason, "cell %d: %s", i+1, f.message)
		}
		size := len(w.Key) + len(w.Data)*4/3
		b := (*cellBatch)(nil)
		if len(batches) > 0 {
			b = batches[len(batches)-1]
		}
		if b == nil || b.service != c.GetService() || b.size+size > maxCellsBatch {
			b = &cellBatch{service: c.GetService(), input: cellsInput{Request: request}}
			batches = append(batches, b)
		}
		b.size += size
		b.input.Cells = append(b.input.Cells, w)
	}
	return batches, nil
}
