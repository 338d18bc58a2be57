// Command httpapp is a conformance app without SDK: its functions are plain HTTP endpoints that call the sidecar by REST. See
// clients/conformance/README.md. It listens on CONFORMANCE_LISTEN, the same address after each restart.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/beldi/beldi/clients/conformance/functions"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "httpapp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	service := os.Getenv("CONFORMANCE_SERVICE")
	side := &sidecar{url: os.Getenv("BELDI_URL"), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	listener, err := net.Listen("tcp", os.Getenv("CONFORMANCE_LISTEN"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	names := []string{"echo"}
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, r.Body)
	})
	for name, fn := range functions.All {
		names = append(names, name)
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) { side.serve(w, r, service, fn) })
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	announce := map[string]any{"functions": names, "url": "http://" + listener.Addr().String()}
	if err := side.post(ctx, "/v1/services/"+service+"/endpoint", "", announce, nil); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// serve runs a function for one attempt. Its status says how the attempt ended.
func (s *sidecar) serve(w http.ResponseWriter, r *http.Request, service string, fn func(functions.Ops, functions.Input) (any, error)) {
	number, err := strconv.Atoi(r.Header.Get("Beldi-Attempt-Number"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	o := &rest{sidecar: s, ctx: r.Context(), token: r.Header.Get("Beldi-Attempt"), service: service,
		function: r.Header.Get("Beldi-Function"), instance: r.Header.Get("Beldi-Instance"), attempt: number}
	var in functions.Input
	d := json.NewDecoder(r.Body)
	d.UseNumber()
	if err := d.Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	output, err := fn(functions.Scripted(o, in.Crash), in)
	var failure *functions.Failure
	switch {
	case errors.As(err, &failure):
		// A 4xx response would do but for the details.
		err := s.post(r.Context(), "/v1/steps:fail", o.token, map[string]any{"failure": map[string]any{
			"message": failure.Message, "code": failure.Code, "details": encode(failure.Details)}}, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		write(w, output)
	}
}

func write(w http.ResponseWriter, output any) {
	if data, raw := output.([]byte); raw {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(data)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(output)
}
