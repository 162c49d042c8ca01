package client

import (
	"context"
	"errors"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/server/common/log"
)

// cell has the connections to the workers of one `strongroom serve`.
type cell struct {
	options Options
	timing  timing
	logger  log.Logger
	// links are the workers. Calls read them without a lock.
	links   atomic.Pointer[[]*link]
	closing chan struct{}

	mu      sync.Mutex
	cellID  string
	shards  int32
	isEnded bool
	retired sync.WaitGroup
}

const (
	// mostRepeats is the limit of repeats of a call. A read that makes a worker crash each time must end.
	mostRepeats = 8
	// mostResends is the limit of resends of a call.
	mostResends = 100
)

// next is what happens with a call after an attempt.
type next int

const (
	finish next = iota
	// repeat is for a read that the server may have got.
	repeat
	// resend is for a call that no server got. The call is not the cause, so a resend does not count as a repeat.
	resend
)

func newCell(options Options, t timing) *cell {
	c := &cell{options: options, timing: t, logger: options.Logger, closing: make(chan struct{})}
	if c.logger == nil {
		c.logger = log.NewNoopLogger()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links.Store(&[]*link{newLink(c, 0)})
	return c
}

// waitUntilReady waits for the first connection. It returns early if the connection is refused for a reason that waiting does not change.
func (c *cell) waitUntilReady(ctx context.Context) error {
	first := (*c.links.Load())[0]
	for {
		now := first.state()
		if now.connection != nil {
			return nil
		}
		var known *Error
		if errors.As(now.failure, &known) && !known.Retryable {
			return known
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			if known != nil {
				return known
			}
			return timeout(ctx, false)
		}
	}
}

func (c *cell) historyShards() int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shards
}

// do sends a call and returns its answer.
func (c *cell) do(ctx context.Context, call Call) ([]byte, *Error) {
	repeats, resends := 0, 0
	for {
		result, failure, then := c.attempt(ctx, call, time.Now().Add(c.timing.wait))
		switch then {
		case repeat:
			repeats++
		case resend:
			resends++
		default:
			return result, failure
		}
		if repeats > mostRepeats || resends > mostResends {
			return nil, failure
		}
	}
}

// attempt sends a call once.
func (c *cell) attempt(ctx context.Context, call Call, wait time.Time) (result []byte, failure *Error, then next) {
	if ctx.Err() != nil {
		return nil, timeout(ctx, false), finish
	}
	connection, failure := c.route(call).acquire(ctx, wait)
	if failure != nil {
		return nil, failure, finish
	}
	head, failure := callHead(ctx, call)
	if failure != nil {
		<-connection.slots
		return nil, failure, finish
	}
	p := connection.start(head, call.Arguments)
	if p == nil {
		<-connection.slots
		return nil, &Error{Kinds: []string{KindUnavailable}, Message: "the connection ended", Retryable: true}, resend
	}
	select {
	case a := <-p.done:
		return connection.conclude(call, a)
	case <-ctx.Done():
	}
	arrived, sent := connection.abandon(p)
	if arrived != nil {
		return connection.conclude(call, *arrived)
	}
	return nil, timeout(ctx, sent && call.Write), finish
}

// callHead returns a CALL message without its arguments.
func callHead(ctx context.Context, call Call) ([]byte, *Error) {
	var left time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		if left = time.Until(deadline); left <= 0 {
			return nil, &Error{Kinds: []string{KindTimeout}, Message: "the deadline passed before the call was sent", Retryable: true, cause: context.DeadlineExceeded}
		}
	}
	head := appendCall(nil, call.Operation, left, callerOf(ctx))
	if len(head)+len(call.Arguments) > messageSize {
		return nil, &Error{Kinds: []string{kindTransactionSizeLimit}, Message: call.Operation + " has more than 64 MiB of arguments"}
	}
	return head, nil
}

const kindTransactionSizeLimit = "TransactionSizeLimit"

// conclude turns the end of a call into its result.
func (c *connection) conclude(call Call, a answer) (result []byte, failure *Error, then next) {
	switch {
	case a.lost == nil && a.err == nil:
		return a.result, nil, finish
	case a.lost == nil:
		if a.err.IsKind(KindUnavailable) && !a.err.MayHaveBeenCommitted && c.isGoingAway() {
			return nil, a.err, resend // a server that shuts down does not start the calls that arrive after its GOAWAY
		}
		return nil, a.err, finish
	case !a.sent:
		return nil, &Error{Kinds: []string{KindUnavailable}, Message: "the call was not sent: " + a.lost.Error(), Retryable: true, cause: a.lost}, resend
	case call.Write:
		return nil, &Error{
			Kinds: []string{KindTimeout}, Message: "the connection ended before the answer: " + a.lost.Error(),
			MayHaveBeenCommitted: true, Retryable: true, cause: a.lost,
		}, finish
	}
	return nil, &Error{Kinds: []string{KindUnavailable}, Message: "the connection ended before the answer: " + a.lost.Error(), Retryable: true, cause: a.lost}, repeat
}

// route returns the worker of a call.
func (c *cell) route(call Call) *link {
	links := *c.links.Load()
	worker := 0
	switch {
	case call.Shard > 0:
		worker = int(call.Shard-1) % len(links)
	case call.QueueKey != nil:
		worker = int(crc32.ChecksumIEEE(call.QueueKey) % uint32(len(links)))
	}
	return links[worker]
}

// accept checks a WELCOME against those before it, and follows the number of workers that worker 0 names.
func (c *cell) accept(l *link, w welcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isEnded {
		return errClosed
	}
	if c.cellID != "" && (c.cellID != w.cellID || c.shards != int32(w.shardCount)) {
		return &Error{Kinds: []string{kindCellMismatch}, Message: "the server on " + l.path +
			" serves another cell than before; serve the first cell there, or restart the Temporal server"}
	}
	c.cellID, c.shards = w.cellID, int32(w.shardCount)
	if l.worker != 0 {
		return nil
	}
	links := *c.links.Load()
	workers := int(w.workers)
	if workers == len(links) {
		return nil
	}
	next := append([]*link(nil), links[:min(workers, len(links))]...)
	for i := len(next); i < workers; i++ {
		next = append(next, newLink(c, i))
	}
	c.links.Store(&next)
	for i := workers; i < len(links); i++ {
		c.retired.Add(1)
		go func() {
			defer c.retired.Done()
			links[i].close()
		}()
	}
	return nil
}

// end closes all connections and waits for their goroutines.
func (c *cell) end() {
	c.mu.Lock()
	if c.isEnded {
		c.mu.Unlock()
		return
	}
	c.isEnded = true
	links := *c.links.Load()
	c.mu.Unlock()
	close(c.closing)
	for _, l := range links {
		l.cancel()
	}
	for _, l := range links {
		l.close()
	}
	c.retired.Wait()
}

// count increments a counter of Temporal's metrics.
func (c *cell) count(name string) {
	if c.options.Metrics != nil {
		c.options.Metrics.Counter(name).Record(1)
	}
}
