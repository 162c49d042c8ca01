package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Kinds of errors of a connection that can't be made. The first four are also those of a REFUSED.
const (
	kindProtocolMismatch   = "ProtocolMismatch"
	kindShardCountMismatch = "ShardCountMismatch"
	kindPeerNotAllowed     = "PeerNotAllowed"
	kindShuttingDown       = "ShuttingDown"
	kindNotASocket         = "NotASocket"
	kindPermissionDenied   = "PermissionDenied"
	kindNotStrongroom      = "NotStrongroom"
	kindCellMismatch       = "CellMismatch"
)

// mostInFlight is the most calls in flight that a server may allow.
const mostInFlight = 1 << 16

// mostWorkers is the most workers that a server may have.
const mostWorkers = 1 << 10

// readSize is the size of the buffer between the socket and the frames.
const readSize = partSize + headerSize

// connect makes a connection to a worker. Its error is an *Error. An error that is not Retryable stays until a person changes the settings.
func connect(ctx context.Context, path string, worker int, options Options, t timing) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, t.handshake)
	defer cancel()
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, explainDial(path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })
	reader := bufio.NewReaderSize(socket, readSize)
	w, err := greet(socket, reader, path, options)
	if err == nil {
		err = check(w, path, worker, options)
	}
	if err == nil && !stop() {
		err = unavailable(path, "the handshake took too long", ctx.Err())
	}
	if err != nil {
		stop()
		_ = socket.Close()
		return nil, err
	}
	return newConnection(socket, reader, w, t.heartbeat), nil
}

// greet sends HELLO and returns the server's WELCOME.
func greet(socket net.Conn, reader *bufio.Reader, path string, options Options) (welcome, error) {
	if _, err := socket.Write(appendMessage(nil, frameHello, 0, appendHello(nil, options))); err != nil {
		return welcome{}, explainSilence(path, err)
	}
	f, err := readFrame(reader)
	if err != nil {
		return welcome{}, explainSilence(path, err)
	}
	message := make([]byte, f.size)
	if _, err := io.ReadFull(reader, message); err != nil {
		return welcome{}, explainSilence(path, err)
	}
	if f.last && f.kind == frameWelcome {
		w, err := decodeWelcome(message)
		if err != nil {
			return w, notStrongroom(path, err)
		}
		return w, nil
	}
	if f.last && f.kind == frameRefused {
		kind, text, err := decodeRefused(message)
		if err != nil {
			return welcome{}, notStrongroom(path, err)
		}
		return welcome{}, &Error{
			Kinds: []string{kind}, Message: fmt.Sprintf("the server on %s refuses the connection: %s", path, text), Retryable: kind == kindShuttingDown,
		}
	}
	return welcome{}, notStrongroom(path, fmt.Errorf("a frame of type %d", f.kind))
}

// check returns an error if the server is not the one that this client needs.
func check(w welcome, path string, worker int, options Options) error {
	switch {
	case w.protocol != protocol:
		return &Error{Kinds: []string{kindProtocolMismatch}, Message: fmt.Sprintf(
			"the server on %s speaks version %d of the protocol and this client version %d; install the same release of "+
				"temporal-server-strongroom and of the Python package", path, w.protocol, protocol)}
	case w.maxInFlight < 1, w.maxInFlight > mostInFlight, w.shardCount < 1, w.workers < 1, w.workers > mostWorkers:
		return notStrongroom(path, errors.New("a WELCOME with numbers out of range"))
	case options.HistoryShards != 0 && w.shardCount != int64(options.HistoryShards):
		return shardCountMismatch(path, options.HistoryShards, w.shardCount)
	case w.worker != int64(worker):
		return unavailable(path, fmt.Sprintf("worker %d answered on the socket of worker %d", w.worker, worker), nil)
	}
	return nil
}

func shardCountMismatch(path string, wanted int32, has int64) error {
	return &Error{Kinds: []string{kindShardCountMismatch}, Message: fmt.Sprintf(
		"numHistoryShards is %d, and the cell on %s has %d shards; set persistence.numHistoryShards to %d, or use a cell of %d shards",
		wanted, path, has, has, wanted)}
}

func explainDial(path string, err error) error {
	refused := func(kind, text string) error { return &Error{Kinds: []string{kind}, Message: text, cause: err} }
	switch {
	case errors.Is(err, syscall.ENOENT):
		return unavailable(path, "there is no such socket; start 'strongroom serve', or correct customDatastore.options.socket", err)
	case errors.Is(err, syscall.ENOTDIR):
		return refused(kindNotASocket, path+" is below a file that is not a folder; correct customDatastore.options.socket")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return refused(kindPermissionDenied, "this user may not connect to "+path+
			"; run the server as the user of 'strongroom serve', or give its group access to the socket and its folder")
	case errors.Is(err, syscall.EPROTOTYPE):
		return refused(kindNotASocket, path+" is a socket of another kind than 'strongroom serve' makes; correct customDatastore.options.socket")
	case errors.Is(err, syscall.EINVAL):
		return refused(kindNotASocket, path+" is too long for a socket's path, which has at most 107 bytes")
	case errors.Is(err, syscall.ECONNREFUSED):
		if info, wrong := os.Stat(path); wrong == nil && info.Mode()&os.ModeSocket == 0 {
			return refused(kindNotASocket, path+" is not a socket; correct customDatastore.options.socket")
		}
		return unavailable(path, "nothing listens there; start 'strongroom serve'", err)
	}
	return unavailable(path, err.Error(), err)
}

// explainSilence explains a peer that ended or stopped before its answer to HELLO was complete.
func explainSilence(path string, err error) error {
	var breach protocolError
	switch {
	case errors.As(err, &breach), errors.Is(err, io.ErrUnexpectedEOF):
		return notStrongroom(path, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return unavailable(path, "it accepted the connection but did not answer HELLO in time", err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return unavailable(path, "it closed the connection without an answer; look at the log of 'strongroom serve'", err)
	}
	return unavailable(path, err.Error(), err)
}

func notStrongroom(path string, err error) error {
	return &Error{Kinds: []string{kindNotStrongroom}, cause: err, Message: fmt.Sprintf(
		"the program that listens on %s is not 'strongroom serve' (%v); correct customDatastore.options.socket", path, err)}
}

func unavailable(path, text string, cause error) error {
	return &Error{Kinds: []string{KindUnavailable}, Message: "no connection to " + path + ": " + text, Retryable: true, cause: cause}
}
