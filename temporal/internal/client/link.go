package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/server/common/log/tag"
)

// timing is what tests shorten.
type timing struct {
	// handshake bounds the time until a connection is ready.
	handshake time.Duration
	// firstDelay and lastDelay bound the time between two attempts to connect.
	firstDelay, lastDelay time.Duration
	// wait is how long a call waits for a connection.
	wait time.Duration
	// heartbeat is how long a connection may be silent before PING. It ends after four times that.
	heartbeat time.Duration
}

var defaultTiming = timing{
	handshake: 10 * time.Second, firstDelay: 10 * time.Millisecond, lastDelay: time.Second, wait: time.Second, heartbeat: 10 * time.Second,
}

// link keeps a connection to one worker.
type link struct {
	cell   *cell
	worker int
	path   string
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	// queued is the number of calls that wait for a connection or for a slot.
	queued atomic.Int64
	// limit is the number of calls that may wait.
	limit atomic.Int64

	mu      sync.Mutex
	current *connection
	failure error
	// changed is closed when current or failure changes.
	changed chan struct{}
}

// limitBefore is the number of calls that may wait for the first connection.
const limitBefore = 256

func newLink(c *cell, worker int) *link {
	ctx, cancel := context.WithCancel(context.Background())
	path := c.options.Socket
	if worker > 0 {
		path += "." + strconv.Itoa(worker)
	}
	l := &link{cell: c, worker: worker, path: path, cancel: cancel, changed: make(chan struct{})}
	l.limit.Store(limitBefore)
	l.tasks.Add(1)
	go l.run(ctx)
	return l
}

// close ends the connection and waits for its goroutines.
func (l *link) close() {
	l.cancel()
	l.tasks.Wait()
}

// run connects, and connects again when the connection is lost.
func (l *link) run(ctx context.Context) {
	defer l.tasks.Done()
	t := l.cell.timing
	delay := t.firstDelay
	reported := ""
	for ctx.Err() == nil {
		began := time.Now()
		c, err := connect(ctx, l.path, l.worker, l.cell.options, t)
		if err == nil {
			if err = l.cell.accept(l, c.welcome); err != nil {
				c.close(err)
				c.tasks.Wait()
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if text := err.Error(); text != reported {
				reported = text
				l.cell.logger.Warn("A worker of the cell can't be reached. The client tries again.", tag.Int("worker", l.worker), tag.Error(err))
			}
			l.set(nil, err)
		} else {
			reported = ""
			l.serve(ctx, c)
		}
		if time.Since(began) > t.lastDelay && err == nil {
			delay = t.firstDelay
		}
		sleep(ctx, delay/2+rand.N(delay/2+1))
		delay = min(2*delay, t.lastDelay)
	}
}

// serve offers a connection to callers until it ends or takes no more calls.
func (l *link) serve(ctx context.Context, c *connection) {
	logger := l.cell.logger
	logger.Info("Connected to a worker of the cell.", tag.String("socket", l.path), tag.Int("worker", l.worker), tag.String("strongroom-version", c.welcome.product))
	l.cell.count("strongroom_connections")
	l.limit.Store(c.welcome.maxInFlight)
	l.set(c, nil)
	select {
	case <-c.ended:
	case <-c.goingAway:
	case <-ctx.Done():
		c.close(errClosed)
	}
	reason := errGoingAway
	select {
	case <-c.ended:
		reason = c.reason
	default:
	}
	l.set(nil, unavailable(l.path, reason.Error(), reason))
	if ctx.Err() == nil {
		logger.Warn("A connection to a worker of the cell ended.", tag.String("socket", l.path), tag.Int("worker", l.worker), tag.Error(reason))
	}
	// A connection that goes away answers the calls that it has while the next connection is made.
	l.tasks.Add(1)
	go func() {
		defer l.tasks.Done()
		select {
		case <-c.ended:
		case <-ctx.Done():
			c.close(errClosed)
		}
		c.tasks.Wait()
	}()
}

var errClosed = errors.New("the client is closed")

func (l *link) set(c *connection, failure error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.failure = c, failure
	close(l.changed)
	l.changed = make(chan struct{})
}

// state is what callers know of a link.
type state struct {
	// connection takes calls. nil: there is none, and failure says why.
	connection *connection
	failure    error
	// changed is closed when there is another state.
	changed <-chan struct{}
}

func (l *link) state() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := state{connection: l.current, failure: l.failure, changed: l.changed}
	if l.current != nil && !l.current.takesCalls() {
		now.connection = nil // run is about to notice it
	}
	return now
}

// acquire returns a connection on which the caller holds a slot. It waits for a connection until the time wait, and for a slot until ctx ends.
func (l *link) acquire(ctx context.Context, wait time.Time) (*connection, *Error) {
	now := l.state()
	if now.connection != nil {
		select {
		case now.connection.slots <- struct{}{}:
			return now.connection, nil
		default:
		}
	}
	if l.queued.Add(1) > l.limit.Load() {
		l.queued.Add(-1)
		l.cell.count("strongroom_rejected_calls")
		return nil, &Error{Kinds: []string{KindResourceExhausted}, Message: "too many calls wait for worker " + strconv.Itoa(l.worker), Retryable: true}
	}
	defer l.queued.Add(-1)
	timer := time.NewTimer(time.Until(wait))
	defer timer.Stop()
	for {
		var slots chan<- struct{}
		expired := timer.C
		if now.connection != nil {
			slots, expired = now.connection.slots, nil
		}
		select {
		case slots <- struct{}{}:
			return now.connection, nil
		case <-now.changed:
		case <-expired:
			return nil, noConnection(l, now.failure)
		case <-l.cell.closing:
			return nil, noConnection(l, errClosed)
		case <-ctx.Done():
			return nil, timeout(ctx, false)
		}
		now = l.state()
	}
}

// noConnection is the error of a call that no connection took.
func noConnection(l *link, failure error) *Error {
	message := "no connection to " + l.path
	if failure != nil {
		message = failure.Error()
	}
	var own *Error
	if errors.As(failure, &own) {
		message = own.Message
	}
	return &Error{Kinds: []string{KindUnavailable}, Message: message, Retryable: true, cause: failure}
}

// timeout is the error of a call whose context ended.
func timeout(ctx context.Context, mayHaveBeenCommitted bool) *Error {
	text := "the deadline passed before the answer"
	if errors.Is(ctx.Err(), context.Canceled) {
		text = "the caller gave up before the answer"
	}
	return &Error{Kinds: []string{KindTimeout}, Message: text, MayHaveBeenCommitted: mayHaveBeenCommitted, Retryable: true, cause: ctx.Err()}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
