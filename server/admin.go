package server

import (
	"context"
	"encoding/base64"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Info is what a sidecar says of itself.
type Info struct {
	Version string
	Realm   string
	Store   string
	Fsync   bool
	Started time.Time
}

type adminService struct {
	beldiv1.UnimplementedAdminServer
	*Server
}

func (s adminService) GetInfo(context.Context, *beldiv1.GetInfoRequest) (*beldiv1.GetInfoResponse, error) {
	i := s.o.Info
	return &beldiv1.GetInfoResponse{
		Version: i.Version,
		Realm:   i.Realm,
		Store:   i.Store,
		Fsync:   i.Fsync,
		Started: timestamppb.New(i.Started),
		Pid:     int64(os.Getpid()),
	}, nil
}

func (s adminService) ListInstances(ctx context.Context, m *beldiv1.ListInstancesRequest) (*beldiv1.ListInstancesResponse, error) {
	filter := intent.InstanceFilter{
		State:    intent.State(m.GetState()), // the same numbers
		Function: intent.Function{Service: m.GetService(), Name: m.GetFunction()},
		After:    daal.InstanceID(m.GetAfter()),
	}
	if m.GetState() < 0 || m.GetState() > beldiv1.InstanceState_INSTANCE_STATE_PARKED {
		return nil, malformed("state %d is unknown", m.GetState())
	}
	var f *fault
	if filter.Limit, f = checkLimit(m.GetLimit()); f != nil {
		return nil, f
	}
	list, next, err := s.o.Runtime.Instances(ctx, filter)
	if err != nil {
		return nil, storeFault(err)
	}
	out := &beldiv1.ListInstancesResponse{Next: string(next)}
	for i := range list {
		out.Instances = append(out.Instances, instanceMessage(&list[i]))
	}
	return out, nil
}

func instanceMessage(i *intent.InstanceInfo) *beldiv1.Instance {
	return &beldiv1.Instance{
		Id:         string(i.ID),
		Service:    i.Function.Service,
		Function:   i.Function.Name,
		State:      beldiv1.InstanceState(i.State),
		Created:    timestamppb.New(i.Created),
		Attempts:   int32(i.Attempts),
		Caller:     string(i.Caller),
		CallerStep: string(i.CallerStep),
		TraceId:    traceID(i.Trace),
		Note:       i.Note,
	}
}

// traceID takes the trace's id from a W3C traceparent: version-trace-span-flags.
func traceID(traceparent string) string {
	if parts := strings.Split(traceparent, "-"); len(parts) >= 4 {
		return parts[1]
	}
	return ""
}

func (s adminService) GetInstance(ctx context.Context, m *beldiv1.GetInstanceRequest) (*beldiv1.GetInstanceResponse, error) {
	if f := checkInstance(m.GetId()); f != nil {
		return nil, f
	}
	d, err := s.o.Runtime.Instance(ctx, daal.InstanceID(m.GetId()))
	if err != nil {
		return nil, storeFault(err)
	}
	out := &beldiv1.GetInstanceResponse{Instance: instanceMessage(&d.InstanceInfo), Input: payload(d.Input)}
	if d.Result != nil {
		if err := d.Result.Err(); err != nil {
			out.Error = faultOf(err).inStream()
		} else {
			out.Output = payload(d.Result.Value)
		}
	}
	for _, r := range d.Journal {
		record := &beldiv1.JournalRecord{Position: r.Position, Kind: r.Kind, Generation: int64(r.Generation)}
		for _, e := range r.Entries {
			entry := &beldiv1.JournalEntry{Step: string(e.Step), Operation: e.Operation, Effect: e.Effect}
			if len(e.Result.Data) > 0 {
				entry.Result = payload(e.Result)
			}
			record.Entries = append(record.Entries, entry)
		}
		out.Journal = append(out.Journal, record)
	}
	return out, nil
}

func (s adminService) GetCell(ctx context.Context, m *beldiv1.GetCellRequest) (*beldiv1.GetCellResponse, error) {
	if f := checkName("service", m.GetService()); f != nil {
		return nil, f
	}
	if f := checkCell(m.GetTable(), m.GetKey()); f != nil {
		return nil, f
	}
	v, found, err := s.o.Runtime.Cells().Read(ctx, daal.Address{Service: m.GetService(), Table: m.GetTable(), Key: m.GetKey()})
	if err != nil {
		return nil, storeFault(err)
	}
	if !found {
		return &beldiv1.GetCellResponse{}, nil
	}
	return &beldiv1.GetCellResponse{Found: true, Value: payload(v)}, nil
}

// maxPage is about how many bytes of values one page of a listing has: a full page of large values would not fit into a message.
const maxPage = 1 << 20

func (s adminService) ListCells(ctx context.Context, m *beldiv1.ListCellsRequest) (*beldiv1.ListCellsResponse, error) {
	if f := checkName("service", m.GetService()); f != nil {
		return nil, f
	}
	limit, f := checkLimit(m.GetLimit())
	if f != nil {
		return nil, f
	}
	after, f := parseCursor(m)
	if f != nil {
		return nil, f
	}
	cells := s.o.Runtime.Cells()
	var list []daal.Listed
	var err error
	if m.GetTable() == "" {
		list, err = cells.ListService(ctx, m.GetService(), after, limit)
	} else {
		list, _, err = cells.List(ctx, m.GetService(), m.GetTable(), m.GetPrefix(), after.Key, limit, true)
	}
	if err != nil {
		return nil, storeFault(err)
	}
	out := &beldiv1.ListCellsResponse{}
	size := 0
	for i := range list {
		c := list[i]
		out.Cells = append(out.Cells, &beldiv1.Cell{Service: c.Address.Service, Table: c.Address.Table, Key: c.Address.Key, Value: payload(c.Value)})
		size += len(c.Address.Key) + len(c.Value.Data)
		if len(out.Cells) == limit || size > maxPage && i < len(list)-1 {
			out.Next = cursor(c.Address)
			break
		}
	}
	return out, nil
}

// A cursor of ListCells is opaque: table and key, as one string without characters that a URL would escape.
func cursor(a daal.Address) string {
	return base64.RawURLEncoding.EncodeToString([]byte(backends.Tuple(a.Table, a.Key)))
}

func parseCursor(m *beldiv1.ListCellsRequest) (after daal.Address, f *fault) {
	if m.GetTable() == "" && m.GetPrefix() != "" {
		return after, malformed("a prefix needs a table")
	}
	if m.GetTable() != "" {
		if f := checkText("table", m.GetTable(), maxName); f != nil {
			return after, f
		}
	}
	if f := checkPrefix("prefix", m.GetPrefix()); f != nil || m.GetAfter() == "" {
		return after, f
	}
	text, err := base64.RawURLEncoding.DecodeString(m.GetAfter())
	if err == nil {
		var parts []string
		if parts, err = backends.ParseTuple(string(text)); err == nil && len(parts) == 2 {
			return daal.Address{Service: m.GetService(), Table: parts[0], Key: parts[1]}, nil
		}
	}
	return after, malformed("after %q is no `next` of a page", m.GetAfter())
}
