package wire

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/tinylib/msgp/msgp"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
)

var errTrailing = errors.New("the answer has bytes after its value")

// Reader reads values from an answer. After the first error every read returns a zero value; Err returns that error. Bytes that it
// returns are part of the answer, not copies.
type Reader struct {
	rest []byte
	err  error
}

// NewReader returns a reader of an answer.
func NewReader(answer []byte) *Reader { return &Reader{rest: answer} }

// Err returns the first error. Bytes after the last value are an error too.
func (r *Reader) Err() error {
	if r.err == nil && len(r.rest) > 0 {
		return errTrailing
	}
	return r.err
}

// Fields reads a map with text keys, and calls read for each entry with the reader at the entry's value. The value is skipped if
// read leaves it.
func (r *Reader) Fields(read func(name string)) {
	size := r.size(msgp.ReadMapHeaderBytes)
	for ; size > 0 && r.err == nil; size-- {
		name := r.Text()
		before := len(r.rest)
		read(name)
		if len(r.rest) == before {
			r.Skip()
		}
	}
}

// Entries reads a map, and calls read for each entry with the reader at the entry's key.
func (r *Reader) Entries(read func()) {
	for size := r.size(msgp.ReadMapHeaderBytes); size > 0 && r.err == nil; size-- {
		read()
	}
}

// Elements reads an array, and calls read for each element.
func (r *Reader) Elements(read func()) {
	for size := r.size(msgp.ReadArrayHeaderBytes); size > 0 && r.err == nil; size-- {
		read()
	}
}

// Tuple reads an array, and calls read with the index of each element. The element is skipped if read leaves it.
func (r *Reader) Tuple(read func(index int)) {
	size := int(r.size(msgp.ReadArrayHeaderBytes))
	for index := 0; index < size && r.err == nil; index++ {
		before := len(r.rest)
		read(index)
		if len(r.rest) == before {
			r.Skip()
		}
	}
}

// Nil reads a nil if the next value is one, and returns whether it was.
func (r *Reader) Nil() bool {
	if r.err != nil || !msgp.IsNil(r.rest) {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// Int reads a whole number.
func (r *Reader) Int() int64 { return take(r, msgp.ReadInt64Bytes) }

// Int32 reads a whole number of 32 bits.
func (r *Reader) Int32() int32 {
	value := r.Int()
	if value < math.MinInt32 || value > math.MaxInt32 {
		r.fail(fmt.Errorf("the number %d does not fit into 32 bits", value))
		return 0
	}
	return int32(value)
}

// Bool reads a truth value.
func (r *Reader) Bool() bool { return take(r, msgp.ReadBoolBytes) }

// Text reads text.
func (r *Reader) Text() string { return string(take(r, msgp.ReadStringZC)) }

// Raw reads bytes; nil is read as nil bytes.
func (r *Reader) Raw() []byte {
	if r.Nil() {
		return nil
	}
	return take(r, msgp.ReadBytesZC)
}

// UUID reads a UUID. nil is read as the empty text, as Temporal writes an id that is not set.
func (r *Reader) UUID() string {
	raw := r.Raw()
	if raw == nil {
		return ""
	}
	id, err := uuid.FromBytes(raw)
	if err != nil {
		r.fail(fmt.Errorf("an id has %d bytes instead of 16", len(raw)))
		return ""
	}
	return id.String()
}

// Time reads a timestamp.
func (r *Reader) Time() time.Time { return take(r, msgp.ReadTimeUTCBytes) }

// Blob reads a DataBlob; nil is read as nil.
func (r *Reader) Blob() *commonpb.DataBlob {
	if r.err != nil || r.Nil() {
		return nil
	}
	blob := &commonpb.DataBlob{EncodingType: enumspb.ENCODING_TYPE_PROTO3}
	r.Tuple(func(index int) {
		switch index {
		case 0:
			blob.Data = r.Raw()
		case 1:
			blob.EncodingType = enumspb.EncodingType(r.Int32())
		}
	})
	return blob
}

// Value reads any value, as Go's own types.
func (r *Reader) Value() any { return take(r, msgp.ReadIntfBytes) }

// Skip skips a value.
func (r *Reader) Skip() {
	if r.err != nil {
		return
	}
	rest, err := msgp.Skip(r.rest)
	if err != nil {
		r.fail(err)
		return
	}
	r.rest = rest
}

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// size reads a header. A size above the number of bytes left can't be true, so that it is refused before anything is allocated.
func (r *Reader) size(read func([]byte) (uint32, []byte, error)) uint32 {
	size := take(r, read)
	if int64(size) > int64(len(r.rest)) {
		r.fail(msgp.ErrShortBytes)
		return 0
	}
	return size
}

func take[T any](r *Reader, read func([]byte) (T, []byte, error)) T {
	var zero T
	if r.err != nil {
		return zero
	}
	value, rest, err := read(r.rest)
	if err != nil {
		r.err = err
		return zero
	}
	r.rest = rest
	return value
}
