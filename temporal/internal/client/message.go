package client

import (
	"context"
	"errors"
	"time"

	"github.com/tinylib/msgp/msgp"
	"go.temporal.io/server/common/headers"
)

// protocol is the version of PROTOCOL.md that this package implements.
const protocol = 1

// Version is the product's version, the same as the Python package's.
const Version = "0.1.0"

// appendHello appends the message of a HELLO.
func appendHello(b []byte, options Options) []byte {
	b = msgp.AppendMapHeader(b, 4)
	b = msgp.AppendInt(msgp.AppendString(b, "protocol"), protocol)
	b = msgp.AppendString(msgp.AppendString(b, "client"), "temporal-server-strongroom "+Version)
	b = msgp.AppendString(msgp.AppendString(b, "temporal"), options.Temporal)
	return msgp.AppendInt32(msgp.AppendString(b, "history_shards"), options.HistoryShards)
}

// appendCall appends everything of a CALL message but the arguments, which follow it.
func appendCall(b []byte, operation string, timeout time.Duration, caller string) []byte {
	b = msgp.AppendArrayHeader(b, 4)
	b = msgp.AppendString(b, operation)
	b = msgp.AppendInt64(b, milliseconds(timeout))
	return msgp.AppendString(b, caller)
}

// milliseconds rounds up, because 0 means that there is no deadline.
func milliseconds(timeout time.Duration) int64 {
	return int64((timeout + time.Millisecond - 1) / time.Millisecond)
}

// callerOf returns Temporal's caller as "type/name/origin", or "" if the context has none.
func callerOf(ctx context.Context) string {
	info := headers.GetCallerInfo(ctx)
	if info == (headers.CallerInfo{}) {
		return ""
	}
	return info.CallerType + "/" + info.CallerName + "/" + info.CallOrigin
}

// welcome is the server's answer to an accepted HELLO.
type welcome struct {
	protocol, schema, shardCount, worker, workers, maxInFlight int64
	product, cellID                                            string
}

func decodeWelcome(b []byte) (welcome, error) {
	var w welcome
	numbers := map[string]*int64{
		"protocol": &w.protocol, "schema": &w.schema, "shard_count": &w.shardCount,
		"worker": &w.worker, "workers": &w.workers, "max_in_flight": &w.maxInFlight,
	}
	err := eachField(b, func(name string, b []byte) ([]byte, error) {
		var err error
		switch {
		case numbers[name] != nil:
			*numbers[name], b, err = msgp.ReadInt64Bytes(b)
		case name == "product":
			w.product, b, err = msgp.ReadStringBytes(b)
		case name == "cell_id":
			var id []byte
			id, b, err = msgp.ReadBytesZC(b)
			w.cellID = string(id)
		default:
			b, err = msgp.Skip(b)
		}
		return b, err
	})
	return w, err
}

// decodeRefused returns the kind and the message of a REFUSED.
func decodeRefused(b []byte) (kind, message string, err error) {
	err = eachField(b, func(name string, b []byte) ([]byte, error) {
		var err error
		switch name {
		case "kind":
			kind, b, err = msgp.ReadStringBytes(b)
		case "message":
			message, b, err = msgp.ReadStringBytes(b)
		default:
			b, err = msgp.Skip(b)
		}
		return b, err
	})
	return kind, message, err
}

// decodeError returns the error of an ERROR message.
func decodeError(b []byte) (*Error, error) {
	e := &Error{}
	err := eachField(b, func(name string, b []byte) ([]byte, error) {
		var err error
		switch name {
		case "kinds":
			e.Kinds, b, err = readStrings(b)
		case "message":
			e.Message, b, err = msgp.ReadStringBytes(b)
		case "may_have_been_committed":
			e.MayHaveBeenCommitted, b, err = msgp.ReadBoolBytes(b)
		case "retryable":
			e.Retryable, b, err = msgp.ReadBoolBytes(b)
		case "fields":
			e.Fields, b, err = msgp.ReadMapStrIntfBytes(b, nil)
		default:
			b, err = msgp.Skip(b)
		}
		return b, err
	})
	if err == nil && len(e.Kinds) == 0 {
		err = errors.New("an ERROR without kinds")
	}
	return e, err
}

func readStrings(b []byte) ([]string, []byte, error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || int(n) > len(b) {
		return nil, b, errors.Join(err, msgp.ErrShortBytes)
	}
	values := make([]string, n)
	for i := range values {
		if values[i], b, err = msgp.ReadStringBytes(b); err != nil {
			return nil, b, err
		}
	}
	return values, b, nil
}

// eachField calls read with the name of each field of a map and the bytes that start with its value. read returns the bytes after it.
func eachField(b []byte, read func(name string, b []byte) ([]byte, error)) error {
	n, b, err := msgp.ReadMapHeaderBytes(b)
	for ; err == nil && n > 0; n-- {
		var name string
		if name, b, err = msgp.ReadStringBytes(b); err == nil {
			b, err = read(name, b)
		}
	}
	if err == nil && len(b) > 0 {
		err = errors.New("bytes after the end of a message")
	}
	return err
}
