package client

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

// No bytes of a peer make the client panic or take more memory than the peer sent.
func FuzzMessages(f *testing.F) {
	valid, err := msgp.AppendMapStrIntf(nil, map[string]any{
		"kinds": []any{"NotFound"}, "message": "failed", "may_have_been_committed": false, "retryable": true, "fields": map[string]any{"shard_id": 1},
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		valid, {}, {0x80}, {0xC1}, {0xDF, 0xFF, 0xFF, 0xFF, 0xFF}, {0x81, 0xA5, 'k', 'i', 'n', 'd', 's', 0xDD, 0xFF, 0xFF, 0xFF, 0xFF},
		append([]byte{0x81, 0xA6, 'f', 'i', 'e', 'l', 'd', 's'}, bytes.Repeat([]byte{0x91}, 1000)...),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeError(b)
		_, _ = decodeWelcome(b)
		_, _, _ = decodeRefused(b)
	})
}

// A frame that is read has the bytes that its header names, and no other length is accepted.
func FuzzFrames(f *testing.F) {
	f.Add(appendMessage(nil, frameAnswer, 1, []byte("answer")))
	f.Add(header(1<<30, 5, 1, 1))
	f.Add(header(5, 5, 1, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		reader := bufio.NewReaderSize(bytes.NewReader(b), readSize)
		got, err := readFrame(reader)
		if err != nil {
			return
		}
		part := make([]byte, got.size)
		if _, err := io.ReadFull(reader, part); err != nil {
			return
		}
		if again := append(appendHeader(nil, got.kind, got.last, got.id, got.size), part...); !bytes.Equal(again, b[:len(again)]) {
			t.Fatalf("%x became %x", b[:len(again)], again)
		}
	})
}
