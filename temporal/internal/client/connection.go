package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// answer is how a call ended.
type answer struct {
	result []byte
	err    *Error
	// lost is why the connection ended before the call was answered.
	lost error
	// sent is whether the server may have got the call.
	sent bool
}

// pending is a call whose answer has not arrived.
type pending struct {
	outgoing
	// done has room for the answer.
	done chan answer
	// kind and parts are the part of the answer that has arrived.
	kind  frameType
	parts []byte
	// abandoned is whether the caller gave up. The call keeps its place among those in flight until the server has answered it.
	abandoned bool
}

// connection is one connection to a worker, after the handshake.
type connection struct {
	socket  net.Conn
	welcome welcome
	// slots has an element for each call in flight.
	slots chan struct{}
	// wake has an element while the outbox may have messages.
	wake chan struct{}
	// goingAway is closed when the server takes no more calls on this connection.
	goingAway chan struct{}
	// ended is closed when the connection is lost. reason says why.
	ended  chan struct{}
	reason error
	frames atomic.Int64

	mu         sync.Mutex
	outbox     outbox
	calls      map[uint32]*pending
	lastID     uint32
	incomplete int
	isAway     bool
	hasEnded   bool
	// pong is the last PONG. A peer that sends PING without reading makes no more than one.
	pong *outgoing

	tasks sync.WaitGroup
}

var (
	errSilent    = errors.New("the server did not answer PING")
	errGoingAway = errors.New("the server is shutting down")
)

// withdraw keeps a call from being sent, and returns whether the server got no part of it.
func (p *pending) withdraw() bool {
	if p.sent {
		return false
	}
	p.withdrawn = true
	return p.offset == 0
}

// newConnection starts the goroutines of a connection.
func newConnection(socket net.Conn, reader *bufio.Reader, w welcome, heartbeat time.Duration) *connection {
	c := &connection{
		socket:    socket,
		welcome:   w,
		slots:     make(chan struct{}, w.maxInFlight),
		wake:      make(chan struct{}, 1),
		goingAway: make(chan struct{}),
		ended:     make(chan struct{}),
		calls:     make(map[uint32]*pending),
	}
	c.tasks.Add(3)
	go c.read(reader)
	go c.write()
	go c.watch(heartbeat)
	return c
}

// start queues a call, for which the caller holds a slot. It returns nil if the connection takes no more calls.
func (c *connection) start(head, body []byte) *pending {
	p := &pending{outgoing: outgoing{kind: frameCall, head: head, body: body}, done: make(chan answer, 1)}
	c.mu.Lock()
	if c.hasEnded || c.isAway {
		c.mu.Unlock()
		return nil
	}
	for {
		c.lastID++
		if c.lastID != 0 && c.calls[c.lastID] == nil {
			break
		}
	}
	p.id = c.lastID
	c.calls[p.id] = p
	c.outbox.add(&p.outgoing)
	c.mu.Unlock()
	c.wakeWriter()
	return p
}

// abandon gives up a call. It returns the answer, if that arrived first, and whether the server may have got the call.
func (c *connection) abandon(p *pending) (arrived *answer, sent bool) {
	c.mu.Lock()
	select {
	case a := <-p.done:
		c.mu.Unlock()
		return &a, true
	default:
	}
	p.abandoned = true
	c.incomplete -= len(p.parts)
	p.parts = nil
	if p.withdraw() {
		c.remove(p)
		c.mu.Unlock()
		return nil, false
	}
	sent = p.sent
	c.outbox.add(&outgoing{kind: frameCancel, id: p.id})
	c.mu.Unlock()
	c.wakeWriter()
	return nil, sent
}

// close ends the connection. Calls in flight are lost.
func (c *connection) close(reason error) {
	c.mu.Lock()
	if c.hasEnded {
		c.mu.Unlock()
		return
	}
	c.hasEnded, c.reason = true, reason
	close(c.ended) // before its calls end, because their callers choose another connection at once
	calls := c.calls
	c.calls = nil
	for _, p := range calls {
		p.done <- answer{lost: reason, sent: p.sent}
	}
	c.mu.Unlock()
	_ = c.socket.Close()
}

func (c *connection) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends the messages of the outbox until the connection ends.
func (c *connection) write() {
	defer c.tasks.Done()
	buffer := make([]byte, 0, 2*batchSize)
	for {
		select {
		case <-c.wake:
		case <-c.ended:
			return
		}
		for {
			buffer = c.fill(buffer[:0])
			if len(buffer) == 0 {
				break
			}
			if _, err := c.socket.Write(buffer); err != nil {
				c.close(err)
				return
			}
		}
	}
}

func (c *connection) fill(buffer []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hasEnded {
		return buffer
	}
	return c.outbox.fill(buffer)
}

// watch sends PING when nothing arrives, and ends the connection if nothing arrives afterwards.
func (c *connection) watch(interval time.Duration) {
	defer c.tasks.Done()
	const mostQuiet = 3 // intervals
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	seen, quiet := int64(-1), 0
	for {
		select {
		case <-ticker.C:
		case <-c.ended:
			return
		}
		if frames := c.frames.Load(); frames != seen {
			seen, quiet = frames, 0
			continue
		}
		quiet++
		if quiet > mostQuiet {
			c.close(errSilent)
			return
		}
		if quiet == 1 {
			c.send(&outgoing{kind: framePing})
		}
	}
}

func (c *connection) send(m *outgoing) {
	c.mu.Lock()
	c.outbox.add(m)
	c.mu.Unlock()
	c.wakeWriter()
}

// read processes the server's frames until the connection ends.
func (c *connection) read(reader *bufio.Reader) {
	defer c.tasks.Done()
	for {
		f, err := readFrame(reader)
		if err == nil {
			err = c.receive(f, reader)
		}
		if err != nil {
			c.close(describeLoss(err))
			return
		}
		c.frames.Add(1)
	}
}

func describeLoss(err error) error {
	var breach protocolError
	switch {
	case errors.As(err, &breach):
		return fmt.Errorf("the server did not keep to the protocol: %w", err)
	case errors.Is(err, io.EOF):
		return errors.New("the server closed the connection")
	}
	return err
}

func (c *connection) receive(f frame, reader *bufio.Reader) error {
	switch f.kind {
	case frameAnswer, frameError:
		return c.receivePart(f, reader)
	case frameGoAway, framePing, framePong:
		if f.size > 0 || !f.last || f.id != 0 {
			return protocolError(fmt.Sprintf("a frame of type %d with a message", f.kind))
		}
	default:
		return protocolError(fmt.Sprintf("a frame of type %d from a server", f.kind))
	}
	switch f.kind {
	case frameGoAway:
		c.goAway()
	case framePing:
		c.answerPing()
	}
	return nil
}

func (c *connection) answerPing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pong == nil || c.pong.sent {
		c.pong = &outgoing{kind: framePong}
		c.outbox.add(c.pong)
		c.wakeWriter()
	}
}

// goAway stops new calls. Calls that were not sent go back to their callers. Calls that were sent in part are cancelled, and the server
// answers that they had no effect. The server ends the connection when it has answered all calls.
func (c *connection) goAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isAway {
		return
	}
	c.isAway = true
	close(c.goingAway)
	for _, p := range c.calls {
		switch {
		case p.withdraw():
			c.remove(p)
			p.done <- answer{lost: errGoingAway}
		case p.withdrawn && !p.abandoned:
			c.outbox.add(&outgoing{kind: frameCancel, id: p.id})
		}
	}
	c.wakeWriter()
}

func (c *connection) isGoingAway() bool {
	select {
	case <-c.goingAway:
		return true
	default:
		return false
	}
}

// takesCalls is whether the connection is good for new calls.
func (c *connection) takesCalls() bool {
	select {
	case <-c.goingAway:
		return false
	case <-c.ended:
		return false
	default:
		return true
	}
}

// receivePart adds a part to the answer of a call, and delivers the answer if it is complete.
func (c *connection) receivePart(f frame, reader *bufio.Reader) error {
	part := make([]byte, f.size)
	if _, err := io.ReadFull(reader, part); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.calls[f.id]
	if p == nil || (p.kind != 0 && p.kind != f.kind) || !(p.sent || p.withdrawn) {
		return protocolError("an answer to no call")
	}
	p.kind = f.kind
	if p.abandoned {
		if f.last {
			c.remove(p)
		}
		return nil
	}
	if !f.last || p.parts != nil {
		p.parts = append(p.parts, part...)
		c.incomplete += len(part)
		if len(p.parts) > messageSize || c.incomplete > incompleteSize {
			return protocolError("an answer, or all incomplete answers together, of too many bytes")
		}
		if !f.last {
			return nil
		}
		part = p.parts
		c.incomplete -= len(part)
	}
	if f.kind == frameAnswer {
		c.remove(p)
		p.done <- answer{result: part, sent: true}
		return nil
	}
	failure, err := decodeError(part)
	if err != nil {
		return protocolError("an ERROR that can't be decoded: " + err.Error())
	}
	c.remove(p)
	p.done <- answer{err: failure, sent: true}
	return nil
}

// remove frees the place of a call. The caller holds the lock.
func (c *connection) remove(p *pending) {
	delete(c.calls, p.id)
	<-c.slots
}
