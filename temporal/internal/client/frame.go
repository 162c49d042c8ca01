package client

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

type frameType byte

const (
	frameHello   frameType = 1
	frameWelcome frameType = 2
	frameRefused frameType = 3
	frameCall    frameType = 4
	frameAnswer  frameType = 5
	frameError   frameType = 6
	frameCancel  frameType = 7
	frameGoAway  frameType = 8
	framePing    frameType = 9
	framePong    frameType = 10
)

const (
	// headerSize is the size of length, type, flags and id.
	headerSize = 10
	// lengthSize is the size of the length, which counts the bytes after it.
	lengthSize = 4
	// partSize is the most bytes of a message in one frame.
	partSize = 1 << 16
	// messageSize is the most bytes of a message.
	messageSize = 64 << 20
	// incompleteSize is the most bytes of all incomplete messages of a connection.
	incompleteSize = 256 << 20
	// lastPart is the flag of a message's last part.
	lastPart = 1
)

// protocolError is a peer's breach of PROTOCOL.md. The connection must be closed.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// frame is the header of a frame.
type frame struct {
	kind frameType
	last bool
	id   uint32
	size int
}

// readFrame reads a header. The frame's part follows it in the reader.
func readFrame(r *bufio.Reader) (frame, error) {
	length, err := r.Peek(lengthSize)
	if err != nil {
		return frame{}, cut(err, len(length))
	}
	size, err := sizeOf(length) // before the rest arrives, because a wrong length may be all that a peer sends
	if err != nil {
		return frame{}, err
	}
	header, err := r.Peek(headerSize)
	if err != nil {
		return frame{}, cut(err, len(header))
	}
	kind, flags := frameType(header[4]), header[5]
	if kind < frameHello || kind > framePong || flags > lastPart {
		return frame{}, protocolError(fmt.Sprintf("a frame of type %d with flags %d", kind, flags))
	}
	f := frame{kind: kind, last: flags == lastPart, id: binary.BigEndian.Uint32(header[6:]), size: size}
	_, err = r.Discard(headerSize)
	return f, err
}

// cut returns the error of a stream that ended after some bytes of a frame.
func cut(err error, bytes int) error {
	if err == io.EOF && bytes > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// sizeOf returns the size of the part of a frame that starts with this length.
func sizeOf(bytes []byte) (int, error) {
	length := int64(binary.BigEndian.Uint32(bytes))
	size := length - (headerSize - lengthSize)
	if size < 0 || size > partSize {
		return 0, protocolError(fmt.Sprintf("a frame of %d bytes", length))
	}
	return int(size), nil
}

// appendHeader appends the header of a frame whose part has size bytes.
func appendHeader(b []byte, kind frameType, last bool, id uint32, size int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(size+headerSize-lengthSize))
	var flags byte
	if last {
		flags = lastPart
	}
	b = append(b, byte(kind), flags)
	return binary.BigEndian.AppendUint32(b, id)
}

// appendMessage appends a message that fits into one frame.
func appendMessage(b []byte, kind frameType, id uint32, message []byte) []byte {
	return append(appendHeader(b, kind, true, id, len(message)), message...)
}
