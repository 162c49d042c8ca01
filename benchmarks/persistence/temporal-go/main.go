// Temporal-go measures Temporal server's own, unsealed SQL persistence stores on a PostgreSQL server.
//
// It creates Temporal's v12 schema in the empty database that --dsn names, then answers each JSON command on
// standard input with one JSON line on standard output:
//
//	{"op":"prepare"}
//	{"op":"update","callers":16,"seconds":1.0,"warmup":0.3}
//
// Logs go to standard error. The other operations are the keys of operations in operations.go.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

type command struct {
	Op      string  `json:"op"`
	Callers int     `json:"callers"`
	Seconds float64 `json:"seconds"`
	Warmup  float64 `json:"warmup"`
}

type result struct {
	Op          string   `json:"op"`
	Callers     int      `json:"callers"`
	Operations  int      `json:"operations"`
	Seconds     float64  `json:"seconds"`
	P50         *float64 `json:"p50_ms"`
	P99         *float64 `json:"p99_ms"`
	ClientCPU   *float64 `json:"client_cpu_us"`
	Errors      int      `json:"errors"`
	FirstError  string   `json:"first_error,omitempty"`
	Connections int      `json:"connections"`
}

type refusal struct {
	Op    string `json:"op"`
	Error string `json:"error"`
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "temporal-go:", err)
		os.Exit(1)
	}
}

func serve() error {
	dsn := flag.String("dsn", "", "connection string: postgresql://user:password@host:port/database, an empty database")
	connections := flag.Int("connections", 20, "size of the connection pool; Temporal ships with 20")
	flag.Parse()
	if *dsn == "" || flag.NArg() > 0 {
		return errors.New("usage: temporal-go --dsn postgresql://user:password@host:port/database [--connections 20]")
	}

	// Temporal's code prints to standard output in one place, which would break the protocol.
	answers := json.NewEncoder(os.Stdout)
	os.Stdout = os.Stderr

	db, err := open(*dsn, *connections)
	if err != nil {
		return err
	}
	defer db.close()

	var fixtures *fixtures
	lines := bufio.NewReader(os.Stdin)
	for {
		line, readErr := lines.ReadBytes('\n')
		if readErr != nil && readErr != io.EOF {
			return readErr
		}
		if len(line) > 0 {
			var request command
			answer, err := any(nil), json.Unmarshal(line, &request)
			if err == nil {
				answer, fixtures, err = execute(db, fixtures, request)
			}
			if err != nil {
				answer = refusal{request.Op, err.Error()}
			}
			if err := answers.Encode(answer); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			return nil
		}
	}
}

// execute answers one command, and returns the fixtures that the next one works on.
func execute(db *database, current *fixtures, request command) (any, *fixtures, error) {
	if request.Op == "prepare" {
		// A failure leaves half a set of rows, so nothing may be measured until another prepare succeeds.
		fresh, err := prepare(db)
		return map[string]string{"op": "prepare"}, fresh, err
	}
	operation, known := operations[request.Op]
	switch {
	case !known:
		return nil, current, fmt.Errorf("unknown op %q", request.Op)
	case current == nil:
		return nil, current, errors.New("no fixtures: prepare first")
	case request.Callers < 1 || request.Callers > runCount:
		return nil, current, fmt.Errorf("callers must be 1 to %d", runCount)
	case request.Seconds <= 0 || request.Warmup < 0:
		return nil, current, errors.New("seconds must be above 0, and warmup not below")
	}
	measured := measure(
		func(caller int) func() error { return operation(newCaller(db, current, caller, request.Callers)) },
		request.Callers,
		seconds(request.Warmup),
		seconds(request.Seconds),
	)
	measured.Op = request.Op
	measured.Connections = db.connections
	return measured, current, nil
}

func seconds(number float64) time.Duration {
	return time.Duration(number * float64(time.Second))
}
