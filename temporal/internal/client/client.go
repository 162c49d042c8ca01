package client

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Client is the use of the process's connections to one `strongroom serve`. It is safe for concurrent use.
type Client struct {
	cell    *cell
	release func()
}

// shared has the cells that the process uses, by their sockets. Temporal makes a factory for each of its services and one more at the start.
var shared = struct {
	sync.Mutex
	uses map[string]*use
}{uses: map[string]*use{}}

// use is a cell with the number of its clients.
type use struct {
	clients int
	cell    *cell
	// ready is closed after the first handshake. failure is its error.
	ready   chan struct{}
	failure error
}

// Dial returns a client of a socket after the handshake with worker 0. It waits until ctx ends for a server that is starting, and
// returns at once if a server refuses the connection. Clients of one socket share their connections, and each one needs a Close.
func Dial(ctx context.Context, options Options) (*Client, error) {
	return dial(ctx, options, defaultTiming)
}

// DialAtStart is Dial for a server that starts. SIGINT and SIGTERM end the wait, because Temporal's server answers signals only when
// it has started.
func DialAtStart(within time.Duration, options Options) (*Client, error) {
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(interrupted, within)
	defer cancel()
	dialled, err := Dial(ctx, options)
	if err != nil && interrupted.Err() != nil {
		return nil, fmt.Errorf("stopped by a signal before there was a connection: %w", err)
	}
	return dialled, err
}

func dial(ctx context.Context, options Options, t timing) (*Client, error) {
	path, err := filepath.Abs(options.Socket)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", options.Socket, err)
	}
	options.Socket = path
	for {
		shared.Lock()
		u := shared.uses[path]
		if u == nil {
			u = &use{clients: 1, cell: newCell(options, t), ready: make(chan struct{})}
			shared.uses[path] = u
			shared.Unlock()
			return u.open(ctx, path)
		}
		u.clients++
		shared.Unlock()
		select {
		case <-u.ready:
		case <-ctx.Done():
			u.leave(path)
			return nil, timeout(ctx, false)
		}
		if u.failure != nil {
			if ctx.Err() != nil {
				return nil, u.failure
			}
			continue // the first caller may have given up earlier than this one does
		}
		if has := u.cell.historyShards(); options.HistoryShards != 0 && options.HistoryShards != has {
			u.leave(path)
			return nil, shardCountMismatch(path, options.HistoryShards, int64(has))
		}
		return u.client(path), nil
	}
}

// open waits for the connection of a socket's first client.
func (u *use) open(ctx context.Context, path string) (*Client, error) {
	u.failure = u.cell.waitUntilReady(ctx)
	if u.failure != nil {
		shared.Lock()
		delete(shared.uses, path)
		shared.Unlock()
		u.cell.end()
		close(u.ready)
		return nil, u.failure
	}
	close(u.ready)
	return u.client(path), nil
}

func (u *use) client(path string) *Client {
	return &Client{cell: u.cell, release: sync.OnceFunc(func() { u.leave(path) })}
}

// leave ends the connections after their last client.
func (u *use) leave(path string) {
	shared.Lock()
	u.clients--
	isLast := u.clients == 0 && shared.uses[path] == u
	if isLast {
		delete(shared.uses, path)
	}
	shared.Unlock()
	if isLast {
		<-u.ready
		u.cell.end()
	}
}

// Do sends a call and returns its answer. The error is an *Error.
func (c *Client) Do(ctx context.Context, call Call) ([]byte, error) {
	answer, failure := c.cell.do(ctx, call)
	if failure != nil {
		return nil, failure
	}
	return answer, nil
}

// HistoryShards returns the cell's number of history shards, which equals numHistoryShards.
func (c *Client) HistoryShards() int32 { return c.cell.historyShards() }

// Close gives the client up. The connections end with the last client of the socket.
func (c *Client) Close() { c.release() }
