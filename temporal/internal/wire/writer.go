// Package wire writes the arguments of calls and reads their answers. Both are MessagePack; PROTOCOL.md has the table of types.
package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tinylib/msgp/msgp"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
)

// Writer appends values to a buffer. The zero value is ready.
type Writer struct {
	buf []byte
}

// Bytes returns all values written.
func (w *Writer) Bytes() []byte { return w.buf }

// Map begins a map. Its fields are counted, so that fields can be left out.
func (w *Writer) Map() *Map {
	w.buf = append(w.buf, map32, 0, 0, 0, 0)
	return &Map{writer: w, header: len(w.buf) - 4}
}

// Array begins an array of n values, which the caller writes next.
func (w *Writer) Array(n int) {
	w.buf = msgp.AppendArrayHeader(w.buf, uint32(n)) // #nosec G115 - a request has fewer elements
}

// Int writes a whole number.
func (w *Writer) Int(value int64) { w.buf = msgp.AppendInt64(w.buf, value) }

// Float writes a number of 64 bits.
func (w *Writer) Float(value float64) { w.buf = msgp.AppendFloat64(w.buf, value) }

// Text writes text.
func (w *Writer) Text(value string) { w.buf = msgp.AppendString(w.buf, value) }

// Bytes16 writes the bytes of a UUID.
func (w *Writer) Bytes16(value [16]byte) { w.buf = msgp.AppendBytes(w.buf, value[:]) }

// Raw writes bytes; nil bytes become empty bytes.
func (w *Writer) Raw(value []byte) { w.buf = msgp.AppendBytes(w.buf, value) }

// Bool writes a truth value.
func (w *Writer) Bool(value bool) { w.buf = msgp.AppendBool(w.buf, value) }

// Nil writes nil.
func (w *Writer) Nil() { w.buf = msgp.AppendNil(w.buf) }

// Time writes a time as a timestamp.
func (w *Writer) Time(value time.Time) { w.buf = msgp.AppendTimeExt(w.buf, value) }

// Duration writes a duration as ISO 8601 text in seconds.
func (w *Writer) Duration(value time.Duration) { w.Text(isoDuration(value)) }

// Blob writes a DataBlob. A nil blob becomes an empty one. An unknown encoding becomes ENCODING_TYPE_UNSPECIFIED, which no reader
// decodes either.
func (w *Writer) Blob(value *commonpb.DataBlob) {
	encoding := value.GetEncodingType()
	if encoding != enumspb.ENCODING_TYPE_PROTO3 && encoding != enumspb.ENCODING_TYPE_JSON {
		encoding = enumspb.ENCODING_TYPE_UNSPECIFIED
	}
	w.Array(2)
	w.Raw(value.GetData())
	w.Int(int64(encoding))
}

const map32 = 0xdf

// Map is a map that is being written.
type Map struct {
	writer *Writer
	header int
	count  uint32
}

// Field writes the name of a field, and returns the writer for its value.
func (m *Map) Field(name string) *Writer {
	m.count++
	m.writer.Text(name)
	return m.writer
}

// Key counts an entry whose key is any value, and returns the writer for the key and the value.
func (m *Map) Key() *Writer {
	m.count++
	return m.writer
}

// End completes the map.
func (m *Map) End() { binary.BigEndian.PutUint32(m.writer.buf[m.header:], m.count) }

func isoDuration(value time.Duration) string {
	sign, seconds, nanos := "", value/time.Second, value%time.Second
	if value < 0 { // the parts, because the smallest duration has no opposite
		sign, seconds, nanos = "-", -seconds, -nanos
	}
	return fmt.Sprintf("%sPT%d.%09dS", sign, seconds, nanos)
}
