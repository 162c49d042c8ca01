package client

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A read whose connection was lost is repeated on the next one.
func TestReadIsRepeated(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	done := doing(background, client, Call{Operation: "read"})
	s.call()
	require.NoError(t, s.socket.Close())
	s = p.greet(nil)
	id, operation := s.call()
	require.Equal(t, "read", operation)
	s.write(frameAnswer, id, []byte("read"))
	require.Equal(t, []byte("read"), receive(t, done).answer)
}

// A write whose connection was lost may have been committed. It is not sent again and never reported as refused.
func TestWriteIsUnknown(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	done := doing(background, client, Call{Operation: "write", Write: true})
	s.call()
	require.NoError(t, s.socket.Close())
	failure := receive(t, done).err
	require.True(t, failure.IsKind(KindTimeout))
	require.True(t, failure.MayHaveBeenCommitted)
	s = p.greet(nil)
	next := doing(background, client, Call{Operation: "next"})
	id, operation := s.call()
	require.Equal(t, "next", operation, "the write must not be sent again")
	s.write(frameAnswer, id, nil)
	require.Nil(t, receive(t, next).err)
}

// A read that makes the server crash each time ends with an error.
func TestReadIsNotRepeatedForever(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	done := doing(background, client, Call{Operation: "poison"})
	for range mostRepeats {
		s.call()
		require.NoError(t, s.socket.Close())
		s = p.greet(nil)
	}
	s.call()
	require.NoError(t, s.socket.Close())
	failure := receive(t, done).err
	require.True(t, failure.IsKind(KindUnavailable))
	require.False(t, failure.MayHaveBeenCommitted)
}

// A write that was not completely sent had no effect, so it is sent on the next connection.
func TestUnsentWriteIsSentAgain(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	large := bytes.Repeat([]byte{1}, 8<<20)
	done := doing(background, client, Call{Operation: "write", Write: true, Arguments: large})
	_, err := readFrame(s.reader)
	require.NoError(t, err)
	require.NoError(t, s.socket.Close())
	s = p.greet(nil)
	m := s.read()
	require.True(t, bytes.HasSuffix(m.content, large))
	s.write(frameAnswer, m.id, nil)
	require.Nil(t, receive(t, done).err)
}

// When the caller gives up, the server gets CANCEL. A write that was sent may have been committed, a read may not.
func TestCancel(t *testing.T) {
	for _, write := range []bool{true, false} {
		p := newPeer(t)
		client, s := connected(t, p, nil, nil)
		ctx, cancel := context.WithCancel(background)
		done := doing(ctx, client, Call{Operation: "a", Write: write})
		id, _ := s.call()
		cancel()
		failure := receive(t, done).err
		require.True(t, failure.IsKind(KindTimeout))
		require.ErrorIs(t, failure, context.Canceled)
		require.Equal(t, write, failure.MayHaveBeenCommitted)
		m := s.read()
		require.Equal(t, frameCancel, m.kind)
		require.Equal(t, id, m.id)
	}
}

// A call that its caller gives up in the middle of its parts is cancelled without the rest of them, and was not committed.
func TestCancelWithinTheParts(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	ctx, cancel := context.WithCancel(background)
	done := doing(ctx, client, Call{Operation: "a", Write: true, Arguments: make([]byte, messageSize-100)})
	_, err := readFrame(s.reader)
	require.NoError(t, err)
	cancel()
	failure := receive(t, done).err
	require.True(t, failure.IsKind(KindTimeout))
	require.False(t, failure.MayHaveBeenCommitted)
	_, err = s.reader.Discard(partSize)
	require.NoError(t, err)
	parts := 0
	for {
		f, err := readFrame(s.reader)
		require.NoError(t, err)
		if f.kind == frameCancel {
			break
		}
		require.False(t, f.last, "the message must not become complete")
		_, err = s.reader.Discard(f.size)
		require.NoError(t, err)
		parts++
	}
	require.Less(t, parts, messageSize/partSize/2)
}

// The deadline is the caller's, also without an answer, and the connection's place is free when the server has answered.
func TestDeadline(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, map[string]any{"max_in_flight": 1}, nil)
	ctx, cancel := context.WithTimeout(background, 30*time.Millisecond)
	defer cancel()
	failure := receive(t, doing(ctx, client, Call{Operation: "a", Write: true})).err
	require.True(t, failure.IsKind(KindTimeout))
	require.ErrorIs(t, failure, context.DeadlineExceeded)
	next := doing(background, client, Call{Operation: "b"})
	m, err := s.next()
	require.NoError(t, err)
	if m.kind == frameCall { // on a slow machine the deadline passes before the call is sent, and nothing is sent
		if operation := operationOf(t, m); operation == "a" {
			require.Equal(t, frameCancel, s.read().kind)
			s.fail(m.id, []any{"Timeout"}, true, map[string]any{})
			m = s.read()
		}
	}
	require.Equal(t, "b", operationOf(t, m))
	s.write(frameAnswer, m.id, nil)
	require.Nil(t, receive(t, next).err)
}

// A call whose context has ended is not sent.
func TestEndedContext(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	ctx, cancel := context.WithCancel(background)
	cancel()
	failure := receive(t, doing(ctx, client, Call{Operation: "a", Write: true})).err
	require.True(t, failure.IsKind(KindTimeout))
	require.False(t, failure.MayHaveBeenCommitted)
	next := doing(background, client, Call{Operation: "b"})
	id, operation := s.call()
	require.Equal(t, "b", operation)
	s.write(frameAnswer, id, nil)
	require.Nil(t, receive(t, next).err)
}

// After GOAWAY, new calls go to the next connection, and those in flight get their answers on the old one.
func TestGoAway(t *testing.T) {
	p := newPeer(t)
	client, old := connected(t, p, nil, nil)
	before := doing(background, client, Call{Operation: "before", Write: true})
	beforeID, _ := old.call()
	old.write(frameGoAway, 0, nil)
	s := p.greet(nil)
	after := doing(background, client, Call{Operation: "after", Write: true})
	id, operation := s.call()
	require.Equal(t, "after", operation)
	s.write(frameAnswer, id, nil)
	require.Nil(t, receive(t, after).err)
	old.write(frameAnswer, beforeID, []byte("late"))
	require.Equal(t, []byte("late"), receive(t, before).answer)
}

// A write that crossed GOAWAY on its way is refused by the server and sent on the next connection.
func TestCallThatCrossesGoAway(t *testing.T) {
	p := newPeer(t)
	client, old := connected(t, p, nil, nil)
	done := doing(background, client, Call{Operation: "write", Write: true})
	id, _ := old.call()
	old.write(frameGoAway, 0, nil)
	old.fail(id, []any{"Unavailable", "StrongroomError"}, false, map[string]any{})
	s := p.greet(nil)
	id, operation := s.call()
	require.Equal(t, "write", operation)
	s.write(frameAnswer, id, nil)
	require.Nil(t, receive(t, done).err)
}

// A write whose parts GOAWAY interrupts is cancelled, and sent on the next connection while the old one still answers other calls.
func TestGoAwayWithinTheParts(t *testing.T) {
	p := newPeer(t)
	client, old := connected(t, p, nil, nil)
	large := bytes.Repeat([]byte{1}, 32<<20)
	done := doing(background, client, Call{Operation: "write", Write: true, Arguments: large})
	f, err := readFrame(old.reader)
	require.NoError(t, err)
	old.write(frameGoAway, 0, nil)
	s := p.greet(nil) // the client has seen GOAWAY
	for f.kind == frameCall {
		require.False(t, f.last, "the message must not become complete")
		_, err = old.reader.Discard(f.size)
		require.NoError(t, err)
		f, err = readFrame(old.reader)
		require.NoError(t, err)
	}
	require.Equal(t, frameCancel, f.kind)
	old.fail(f.id, []any{"Timeout", "Unavailable", "StrongroomError"}, false, map[string]any{})
	m := s.read()
	require.True(t, bytes.HasSuffix(m.content, large))
	s.write(frameAnswer, m.id, nil)
	require.Nil(t, receive(t, done).err)
}

// Without a connection a call fails after the wait, and the error says why there is none.
func TestNoConnection(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, func(times *timing) { times.wait = 20 * time.Millisecond })
	require.NoError(t, p.listener.Close())
	require.NoError(t, s.socket.Close())
	require.Eventually(t, func() bool {
		failure := receive(t, doing(background, client, Call{Operation: "a", Write: true})).err
		return failure.IsKind(KindUnavailable) && !failure.MayHaveBeenCommitted && failure.Retryable
	}, patience, time.Millisecond)
	failure := receive(t, doing(background, client, Call{Operation: "a", Write: true})).err
	require.ErrorContains(t, failure, "no connection to "+p.path)
}

// A server that serves another cell after a restart is refused, because this process has the namespaces of the first one.
func TestAnotherCell(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, func(times *timing) { times.wait = 20 * time.Millisecond })
	require.NoError(t, s.socket.Close())
	s = p.greet(map[string]any{"cell_id": bytes.Repeat([]byte{7}, 16)})
	s.ended()
	require.Eventually(t, func() bool {
		failure := (*client.cell.links.Load())[0].state().failure
		return failure != nil && failure.(*Error).IsKind("CellMismatch")
	}, patience, time.Millisecond)
}

// A peer that does not keep to the protocol loses this connection only, and the next one works.
func TestGarbageClosesTheConnection(t *testing.T) {
	answer := func(parts int) []byte { // of the call with id 1, incomplete
		var b []byte
		for range parts {
			b = append(appendHeader(b, frameAnswer, false, 1, partSize), make([]byte, partSize)...)
		}
		return b
	}
	for name, garbage := range map[string][]byte{
		"text":                         []byte("GET / HTTP/1.1\r\n\r\n"),
		"a frame of 1 GiB":             header(1<<30, 5, 1, 1),
		"the length alone of 1 GiB":    header(1<<30, 5, 1, 1)[:4],
		"a frame without its fields":   header(0, 5, 1, 1),
		"an unknown type":              header(6, 0, 1, 1),
		"unknown flags":                header(6, 5, 255, 1),
		"an answer to no call":         header(6, 5, 1, 2),
		"an answer that becomes ERROR": append(header(6, 5, 0, 1), header(6, 6, 1, 1)...),
		"a message of over 64 MiB":     answer(messageSize/partSize + 1),
		"a malformed ERROR":            appendMessage(nil, frameError, 1, []byte{0x81, 0xC1}),
		"an ERROR without kinds":       appendMessage(nil, frameError, 1, []byte{0x80}),
		"a second WELCOME":             appendMessage(nil, frameWelcome, 0, nil),
		"a CALL":                       appendMessage(nil, frameCall, 1, nil),
		"a GOAWAY with a message":      appendMessage(nil, frameGoAway, 0, []byte{1}),
		"a PING of a call":             appendMessage(nil, framePing, 1, nil),
		"a cut frame":                  appendHeader(nil, frameAnswer, true, 1, 10),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			client, s := connected(t, p, nil, nil)
			done := doing(background, client, Call{Operation: "a"})
			s.call()
			_, _ = s.socket.Write(garbage)
			if name == "a cut frame" {
				require.NoError(t, s.socket.Close())
			} else {
				s.ended()
			}
			s = p.greet(nil)
			id, _ := s.call()
			s.write(frameAnswer, id, []byte("right"))
			require.Equal(t, []byte("right"), receive(t, done).answer)
		})
	}
}

// PING is answered, and a peer that answers nothing any more loses its connection.
func TestHeartbeat(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, func(times *timing) { times.heartbeat = 10 * time.Millisecond })
	s.write(framePing, 0, nil)
	for s.read().kind != framePong { // the client sends PING too
	}
	done := doing(background, client, Call{Operation: "a"})
	s.ended()
	s = p.greet(nil)
	m := s.read()
	for m.kind == framePing {
		m = s.read()
	}
	s.write(frameAnswer, m.id, nil)
	require.Nil(t, receive(t, done).err)
}

// A client keeps to max_in_flight, queues as many calls again, and refuses those beyond without waiting.
func TestBackPressure(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, map[string]any{"max_in_flight": 2}, nil)
	var running []<-chan outcome
	var ids []uint32
	for range 2 {
		running = append(running, doing(background, client, Call{Operation: "running"}))
		id, _ := s.call()
		ids = append(ids, id)
	}
	queued := func() int64 { return (*client.cell.links.Load())[0].queued.Load() }
	var waiting []<-chan outcome
	for i := range 2 {
		waiting = append(waiting, doing(background, client, Call{Operation: "waiting", Write: true}))
		require.Eventually(t, func() bool { return queued() == int64(i+1) }, patience, time.Millisecond)
	}
	failure := receive(t, doing(background, client, Call{Operation: "beyond", Write: true})).err
	require.True(t, failure.IsKind(KindResourceExhausted))
	require.False(t, failure.MayHaveBeenCommitted)
	for _, id := range ids {
		s.write(frameAnswer, id, nil)
	}
	for range 2 {
		id, operation := s.call()
		require.Equal(t, "waiting", operation)
		s.write(frameAnswer, id, nil)
	}
	for _, done := range append(running, waiting...) {
		require.Nil(t, receive(t, done).err)
	}
}

// A call that waits for its turn ends with its context, and was not committed.
func TestCancelInTheQueue(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, map[string]any{"max_in_flight": 1}, nil)
	running := doing(background, client, Call{Operation: "running"})
	id, _ := s.call()
	ctx, cancel := context.WithCancel(background)
	waiting := doing(ctx, client, Call{Operation: "waiting", Write: true})
	require.Eventually(t, func() bool { return (*client.cell.links.Load())[0].queued.Load() == 1 }, patience, time.Millisecond)
	cancel()
	failure := receive(t, waiting).err
	require.True(t, failure.IsKind(KindTimeout))
	require.False(t, failure.MayHaveBeenCommitted)
	s.write(frameAnswer, id, nil)
	require.Nil(t, receive(t, running).err)
}

// Closing the client ends the calls that are in flight.
func TestClose(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	done := doing(background, client, Call{Operation: "a", Write: true})
	s.call()
	client.Close()
	failure := receive(t, done).err
	require.True(t, failure.MayHaveBeenCommitted)
	failure = receive(t, doing(background, client, Call{Operation: "b", Write: true})).err
	require.True(t, failure.IsKind(KindUnavailable))
	require.False(t, failure.MayHaveBeenCommitted)
}

// A caller whose connection ended must not get the same connection again, because it would use up its repeats at once.
func TestEndedConnectionTakesNoCalls(t *testing.T) {
	for range 2000 {
		ours, theirs := net.Pipe()
		c := newConnection(ours, bufio.NewReader(ours), welcome{maxInFlight: 1}, patience)
		c.slots <- struct{}{}
		p := c.start([]byte{0x90}, nil)
		go c.close(errClosed)
		<-p.done
		require.False(t, c.takesCalls())
		require.NoError(t, theirs.Close())
		c.tasks.Wait()
	}
}
