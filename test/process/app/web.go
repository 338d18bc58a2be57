package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// web is service web: a function behind an HTTP endpoint that takes its steps by REST. Its address stays the same when it is
// started again, as that of a web server does.
func web() error {
	file := filepath.Join(os.Getenv("APP_DIR"), "web")
	address, err := os.ReadFile(file)
	if err != nil {
		address = []byte("127.0.0.1:0")
	}
	listener, err := net.Listen("tcp", string(address))
	if err != nil {
		return err
	}
	at := listener.Addr().String()
	if err := os.WriteFile(file, []byte(at), 0o600); err != nil {
		return err
	}
	http.HandleFunc("POST /order", webOrder)
	served := make(chan error, 1)
	go func() {
		server := &http.Server{ReadHeaderTimeout: 5 * time.Second}
		served <- server.Serve(listener)
	}()
	announce := map[string]any{"functions": []string{"order"}, "url": "http://" + at}
	if err := post("/v1/services/web/endpoint", "", announce, nil); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	fmt.Println("beldi: serving web")
	return <-served
}

// webOrder counts, comes to a gate, and counts again. Its steps have no names, so they are numbered as they come.
func webOrder(w http.ResponseWriter, r *http.Request) {
	token := r.Header.Get("Beldi-Attempt")
	number, err := strconv.Atoi(r.Header.Get("Beldi-Attempt-Number"))
	var key string
	if err == nil {
		err = json.NewDecoder(r.Body).Decode(&key)
	}
	count := func(table, key string) (n int) {
		var answer struct{ Value int }
		if err == nil {
			err = post("/v1/steps:update", token, map[string]any{"table": table, "key": key, "expression": increment}, &answer)
		}
		return answer.Value
	}
	ticket := count("count", "orders")
	count("begun", key)
	if err == nil {
		(&gate{Op: key, Attempt: number, Token: token}).pass("between")
	}
	count("ended", key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(ticket)
}

func post(path, token string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, os.Getenv("BELDI_URL")+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Beldi-Attempt", token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s", path, answer.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
