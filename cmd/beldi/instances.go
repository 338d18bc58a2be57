package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

type instancesCmd struct {
	List instancesListCmd `cmd:"" help:"List instances."`
	Show instancesShowCmd `cmd:"" help:"Show one instance with its journal."`
}

type instancesListCmd struct {
	target
	output
	State    string `enum:",running,succeeded,failed,parked" default:"" help:"Only this state: running, succeeded, failed or parked." placeholder:"STATE"`
	Service  string `help:"Only this service." placeholder:"NAME"`
	Function string `help:"Only this function." placeholder:"NAME"`
	Limit    int    `help:"At most this many." default:"100" placeholder:"N"`
}

// instance is the shape of -o json.
type instance struct {
	ID         string    `json:"id"`
	Service    string    `json:"service"`
	Function   string    `json:"function"`
	State      string    `json:"state"`
	Created    time.Time `json:"created"`
	Attempts   int32     `json:"attempts"`
	Caller     string    `json:"caller,omitempty"`
	CallerStep string    `json:"callerStep,omitempty"`
	TraceID    string    `json:"traceId,omitempty"`
	Note       string    `json:"note,omitempty"`
}

func instanceOf(i *beldiv1.Instance) instance {
	return instance{
		ID: i.GetId(), Service: i.GetService(), Function: i.GetFunction(), State: stateName(i.GetState()),
		Created: i.GetCreated().AsTime(), Attempts: i.GetAttempts(), Caller: i.GetCaller(), CallerStep: i.GetCallerStep(),
		TraceID: i.GetTraceId(), Note: i.GetNote(),
	}
}

func stateName(s beldiv1.InstanceState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "INSTANCE_STATE_"))
}

const pageSize = 1000 // the most that the sidecar gives at once

func (c *instancesListCmd) Run(e *env) error {
	if c.Limit < 1 {
		return usage{fmt.Errorf("instances list: --limit %d; want at least 1", c.Limit)}
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	req := &beldiv1.ListInstancesRequest{Service: c.Service, Function: c.Function}
	if c.State != "" {
		req.State = beldiv1.InstanceState(beldiv1.InstanceState_value["INSTANCE_STATE_"+strings.ToUpper(c.State)])
	}
	list := []instance{}
	more := true
	for more && len(list) < c.Limit {
		req.Limit = int32(min(pageSize, c.Limit-len(list)))
		page, err := beldiv1.NewAdminClient(conn).ListInstances(e.ctx, req)
		if err != nil {
			return failed("list instances", err)
		}
		for _, i := range page.GetInstances() {
			list = append(list, instanceOf(i))
		}
		req.After = page.GetNext()
		more = req.After != ""
	}
	err = c.print(e, list, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "INSTANCE\tSTATE\tFUNCTION\tATTEMPTS\tAGE\tNOTE")
		for _, i := range list {
			fmt.Fprintf(w, "%s\t%s\t%s/%s\t%d\t%s\t%s\n", i.ID, i.State, i.Service, i.Function, i.Attempts, ago(i.Created), cut(i.Note, 60))
		}
	})
	if err == nil && more && c.Output == "table" {
		_, err = fmt.Fprintf(e.stderr, "There are more; --limit shows them.\n")
	}
	return err
}

type instancesShowCmd struct {
	target
	output
	ID string `arg:"" help:"The instance."`
}

type instanceDetail struct {
	instance
	Input   json.RawMessage `json:"input,omitempty"`
	Output  json.RawMessage `json:"output,omitempty"`
	Error   *errorDetail    `json:"error,omitempty"`
	Journal []record        `json:"journal"`
}

type errorDetail struct {
	Reason  string          `json:"reason"`
	Message string          `json:"message"`
	Code    string          `json:"code,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
}

type record struct {
	Position   int64         `json:"position"`
	Kind       string        `json:"kind"`
	Generation int64         `json:"generation"`
	Entries    []recordEntry `json:"entries,omitempty"`
}

type recordEntry struct {
	Step      string          `json:"step"`
	Operation string          `json:"operation"`
	Effect    bool            `json:"effect,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
}

func (c *instancesShowCmd) Run(e *env) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	got, err := beldiv1.NewAdminClient(conn).GetInstance(e.ctx, &beldiv1.GetInstanceRequest{Id: c.ID})
	if err != nil {
		return failed("show instance "+c.ID, err)
	}
	d := detailOf(got)
	return c.print(e, d, func(w *tabwriter.Writer) { d.table(w) })
}

func detailOf(got *beldiv1.GetInstanceResponse) instanceDetail {
	d := instanceDetail{
		instance: instanceOf(got.GetInstance()),
		Input:    valueJSON(got.GetInput()),
		Output:   valueJSON(got.GetOutput()),
		Journal:  []record{},
	}
	if err := got.GetError(); err != nil {
		d.Error = &errorDetail{err.GetReason(), err.GetMessage(), err.GetFailure().GetCode(), valueJSON(err.GetFailure().GetDetails())}
	}
	for _, r := range got.GetJournal() {
		entries := make([]recordEntry, 0, len(r.GetEntries()))
		for _, en := range r.GetEntries() {
			entries = append(entries, recordEntry{en.GetStep(), en.GetOperation(), en.GetEffect(), valueJSON(en.GetResult())})
		}
		d.Journal = append(d.Journal, record{r.GetPosition(), r.GetKind(), r.GetGeneration(), entries})
	}
	return d
}

func (d instanceDetail) table(w *tabwriter.Writer) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	line("instance", d.ID)
	line("function", d.Service+"/"+d.Function)
	line("state", d.State)
	line("created", d.Created.Format(time.RFC3339))
	line("attempts", fmt.Sprint(d.Attempts))
	if d.Caller != "" {
		line("caller", d.Caller+" step "+d.CallerStep)
	}
	line("trace", d.TraceID)
	line("note", d.Note)
	line("input", cut(string(d.Input), 200))
	line("output", cut(string(d.Output), 200))
	if d.Error != nil {
		line("error", fmt.Sprintf("%s (%s)", d.Error.Message, d.Error.Reason))
	}
	fmt.Fprintln(w, "\nRECORD\tKIND\tSTEP\tOPERATION\tRESULT")
	for _, r := range d.Journal {
		fmt.Fprintf(w, "%d\t%s\n", r.Position, r.Kind)
		for _, en := range r.Entries {
			fmt.Fprintf(w, "\t\t%s\t%s\t%s\n", en.Step, cut(en.Operation, 60), cut(string(en.Result), 80))
		}
	}
}
