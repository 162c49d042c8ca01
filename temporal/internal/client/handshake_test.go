package client

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
)

// refused returns the error of a Dial against what play does with the connection. Such an error must not wait for the context.
func refused(t *testing.T, play func(s *side)) *Error {
	t.Helper()
	p := newPeer(t)
	dialled := dialling(t, p, Options{HistoryShards: 512, Temporal: "1.31.2"}, nil)
	play(p.accept())
	client, err := dialled()
	require.Nil(t, client)
	var failure *Error
	require.ErrorAs(t, err, &failure)
	return failure
}

// HELLO says who connects.
func TestHello(t *testing.T) {
	refused(t, func(s *side) {
		m := s.read()
		require.Equal(t, frameHello, m.kind)
		hello, _, err := msgp.ReadMapStrIntfBytes(m.content, nil)
		require.NoError(t, err)
		require.Equal(t, map[string]any{
			"protocol": int64(1), "client": "temporal-server-strongroom " + Version, "temporal": "1.31.2", "history_shards": int64(512),
		}, hello)
		s.write(frameWelcome, 0, welcomeWith(t, nil))
	})
}

// A cell with another number of shards is refused with both numbers.
func TestShardCountMismatch(t *testing.T) {
	failure := refused(t, func(s *side) { s.write(frameWelcome, 0, welcomeWith(t, map[string]any{"shard_count": 4})) })
	require.True(t, failure.IsKind("ShardCountMismatch"))
	require.Contains(t, failure.Message, "numHistoryShards is 512")
	require.Contains(t, failure.Message, "has 4 shards")
}

// A server of another protocol version is refused with both versions.
func TestProtocolMismatch(t *testing.T) {
	failure := refused(t, func(s *side) {
		s.write(frameWelcome, 0, welcomeWith(t, map[string]any{"protocol": 2, "shard_count": 512}))
	})
	require.True(t, failure.IsKind("ProtocolMismatch"))
	require.Contains(t, failure.Message, "version 2 of the protocol and this client version 1")
}

// The server's own refusal keeps its kind and its reason.
func TestRefusedByTheServer(t *testing.T) {
	failure := refused(t, func(s *side) {
		b, err := msgp.AppendMapStrIntf(nil, map[string]any{"kind": "PeerNotAllowed", "message": "user 1000 is not allowed"})
		require.NoError(t, err)
		s.write(frameRefused, 0, b)
	})
	require.True(t, failure.IsKind("PeerNotAllowed"))
	require.Contains(t, failure.Message, "user 1000 is not allowed")
}

// A peer that speaks something else is named as such: text, a frame of 1 GiB, a frame of a wrong type, malformed MessagePack, absurd numbers.
func TestNotStrongroom(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"text":              []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"a frame of 1 GiB":  header(1<<30, 2, 1, 0),
		"a short frame":     header(5, 2, 1, 0),
		"an unknown type":   header(6, 11, 1, 0),
		"unknown flags":     header(6, 2, 2, 0),
		"an answer":         appendMessage(nil, frameAnswer, 0, nil),
		"a part":            appendHeader(nil, frameWelcome, false, 0, 0),
		"malformed content": appendMessage(nil, frameWelcome, 0, []byte{0xC1}),
		"a cut map":         appendMessage(nil, frameWelcome, 0, msgp.AppendMapHeader(nil, 1<<31)),
		"a wrong refusal":   appendMessage(nil, frameRefused, 0, []byte{0x01}),
		"no numbers":        appendMessage(nil, frameWelcome, 0, msgp.AppendInt(msgp.AppendString(msgp.AppendMapHeader(nil, 1), "protocol"), 1)),
		"too many workers":  appendMessage(nil, frameWelcome, 0, welcomeWith(t, map[string]any{"workers": 1 << 30})),
	} {
		t.Run(name, func(t *testing.T) {
			failure := refused(t, func(s *side) { s.raw(garbage) })
			require.True(t, failure.IsKind("NotStrongroom"), failure)
			require.Contains(t, failure.Message, "is not 'strongroom serve'")
		})
	}
}

// What is at the path is named, and what to do about it.
func TestWrongPaths(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	datagram := filepath.Join(folder, "datagram")
	listening, err := net.ListenPacket("unixgram", datagram)
	require.NoError(t, err)
	defer func() { _ = listening.Close() }()
	for path, expected := range map[string]string{
		file:                                   "is not a socket",
		filepath.Join(file, "socket"):          "is below a file that is not a folder",
		datagram:                               "is a socket of another kind",
		"/" + strings.Repeat("long", 30) + "/": "is too long for a socket's path",
	} {
		_, err := dial(background, Options{Socket: path, HistoryShards: 4}, quick)
		var failure *Error
		require.ErrorAs(t, err, &failure)
		require.True(t, failure.IsKind("NotASocket"), failure)
		require.Contains(t, failure.Message, expected)
	}
}

// A socket that this user may not open has another error than one that no process serves.
func TestPermissionDenied(t *testing.T) {
	err := explainDial("/run/strongroom.sock", syscall.EACCES)
	require.ErrorContains(t, err, "PermissionDenied: this user may not connect to /run/strongroom.sock")
}

// Dial waits for a server that is starting: a socket that is not there yet, nobody behind it, a server that shuts down, one that crashes.
func TestDialWaitsForTheServer(t *testing.T) {
	p := newPeer(t)
	require.NoError(t, p.listener.Close())
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	dialled := dialling(t, p, Options{HistoryShards: 4}, nil)
	require.NoError(t, os.Remove(p.path))
	p = listenOn(t, p.path)
	require.NoError(t, p.accept().socket.Close())
	s := p.accept()
	b, err := msgp.AppendMapStrIntf(nil, map[string]any{"kind": "ShuttingDown", "message": "the server is shutting down"})
	require.NoError(t, err)
	s.write(frameRefused, 0, b)
	p.greet(nil)
	_, err = dialled()
	require.NoError(t, err)
}

// When the context of Dial ends, the error names the last obstacle.
func TestDialGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(background)
	done := make(chan error, 1)
	go func() {
		_, err := dial(ctx, Options{Socket: path}, quick)
		done <- err
	}()
	require.Eventually(t, func() bool {
		shared.Lock()
		defer shared.Unlock()
		if u := shared.uses[path]; u != nil {
			return (*u.cell.links.Load())[0].state().failure != nil
		}
		return false
	}, patience, time.Millisecond)
	cancel()
	require.ErrorContains(t, <-done, "no connection to "+path+": there is no such socket; start 'strongroom serve'")
}

// A peer that accepts and stays silent does not block the start forever.
func TestSilentPeer(t *testing.T) {
	p := newPeer(t)
	ctx, cancel := context.WithCancel(background)
	times := quick
	times.handshake = 20 * time.Millisecond
	done := make(chan error, 1)
	go func() {
		_, err := dial(ctx, Options{Socket: p.path}, times)
		done <- err
	}()
	p.accept()
	p.accept() // the first attempt was given up
	cancel()
	require.ErrorContains(t, <-done, "did not answer HELLO in time")
}
