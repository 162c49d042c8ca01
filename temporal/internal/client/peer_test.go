package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
)

// patience bounds what a test waits for. It only ends a test that fails.
const patience = time.Minute

// quick are short delays. Nothing waits for wait or handshake to pass, so they are long.
var quick = timing{
	handshake: patience, firstDelay: time.Millisecond, lastDelay: 10 * time.Millisecond, wait: patience, heartbeat: patience,
}

// peer plays `strongroom serve` on a socket. The test drives it frame by frame.
type peer struct {
	t        *testing.T
	path     string
	listener net.Listener
}

func newPeer(t *testing.T) *peer {
	path := filepath.Join(t.TempDir(), "s")
	return listenOn(t, path)
}

func listenOn(t *testing.T, path string) *peer {
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return &peer{t: t, path: path, listener: listener}
}

// side is the peer's side of a connection.
type side struct {
	t      *testing.T
	socket net.Conn
	reader *bufio.Reader
}

// accept waits for a connection.
func (p *peer) accept() *side {
	require.NoError(p.t, p.listener.(*net.UnixListener).SetDeadline(time.Now().Add(patience)))
	socket, err := p.listener.Accept()
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = socket.Close() })
	require.NoError(p.t, socket.SetDeadline(time.Now().Add(patience)))
	return &side{t: p.t, socket: socket, reader: bufio.NewReader(socket)}
}

// greet waits for a connection and answers its HELLO.
func (p *peer) greet(w map[string]any) *side {
	s := p.accept()
	hello := s.read()
	require.Equal(p.t, frameHello, hello.kind)
	s.write(frameWelcome, 0, welcomeWith(p.t, w))
	return s
}

// welcomeWith returns the message of a WELCOME with some fields changed.
func welcomeWith(t *testing.T, changed map[string]any) []byte {
	fields := map[string]any{
		"protocol": 1, "product": "0.1.0", "schema": 1, "cell_id": make([]byte, 16), "shard_count": 4, "worker": 0, "workers": 1, "max_in_flight": 16,
	}
	for name, value := range changed {
		fields[name] = value
	}
	b, err := msgp.AppendMapStrIntf(nil, fields)
	require.NoError(t, err)
	return b
}

// message is a whole message of the client.
type message struct {
	kind    frameType
	id      uint32
	content []byte
}

// read returns the client's next message, whose parts no other message interrupts.
func (s *side) read() message {
	m, err := s.next()
	require.NoError(s.t, err)
	return m
}

func (s *side) next() (message, error) {
	var m message
	for {
		f, err := readFrame(s.reader)
		if err != nil {
			return m, err
		}
		m.kind, m.id = f.kind, f.id
		part := make([]byte, f.size)
		if _, err := io.ReadFull(s.reader, part); err != nil {
			return m, err
		}
		m.content = append(m.content, part...)
		if f.last {
			return m, nil
		}
	}
}

// call returns the client's next message, which must be a CALL, and its operation.
func (s *side) call() (id uint32, operation string) {
	m := s.read()
	return m.id, operationOf(s.t, m)
}

func operationOf(t *testing.T, m message) string {
	require.Equal(t, frameCall, m.kind)
	_, rest, err := msgp.ReadArrayHeaderBytes(m.content)
	require.NoError(t, err)
	operation, _, err := msgp.ReadStringBytes(rest)
	require.NoError(t, err)
	return operation
}

func (s *side) write(kind frameType, id uint32, content []byte) {
	s.raw(appendMessage(nil, kind, id, content))
}

func (s *side) raw(b []byte) {
	_, err := s.socket.Write(b)
	require.NoError(s.t, err)
}

// fail answers a call with an error.
func (s *side) fail(id uint32, kinds []any, committed bool, fields map[string]any) {
	b, err := msgp.AppendMapStrIntf(nil, map[string]any{
		"kinds": kinds, "message": "failed", "may_have_been_committed": committed, "retryable": true, "fields": fields,
	})
	require.NoError(s.t, err)
	s.write(frameError, id, b)
}

// ended waits until the client closes the connection.
func (s *side) ended() {
	for {
		if _, err := s.next(); err != nil {
			return
		}
	}
}

// header returns the bytes of a frame's header, right or wrong.
func header(length uint32, kind, flags byte, id uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, length)
	return binary.BigEndian.AppendUint32(append(b, kind, flags), id)
}

// dialling dials in another goroutine.
func dialling(t *testing.T, p *peer, options Options, change func(*timing)) func() (*Client, error) {
	t.Helper()
	options.Socket = p.path
	times := quick
	if change != nil {
		change(&times)
	}
	type result struct {
		client *Client
		err    error
	}
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	go func() {
		client, err := dial(ctx, options, times)
		done <- result{client, err}
	}()
	return func() (*Client, error) {
		r := <-done
		cancel()
		if r.client != nil {
			t.Cleanup(r.client.Close)
		}
		return r.client, r.err
	}
}

// connected returns a client and the peer's side of its connection.
func connected(t *testing.T, p *peer, w map[string]any, change func(*timing)) (*Client, *side) {
	t.Helper()
	dialled := dialling(t, p, Options{HistoryShards: 4}, change)
	s := p.greet(w)
	client, err := dialled()
	require.NoError(t, err)
	return client, s
}

// outcome is what Do returned.
type outcome struct {
	answer []byte
	err    *Error
}

// doing calls in another goroutine.
func doing(ctx context.Context, c *Client, call Call) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		answer, err := c.Do(ctx, call)
		failure, _ := err.(*Error)
		done <- outcome{answer, failure}
	}()
	return done
}

func receive(t *testing.T, done <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-done:
		return o
	case <-time.After(patience):
		require.Fail(t, "the call did not end")
		return outcome{}
	}
}
