package wire

import (
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
)

// A value is read as it was written, with the types of PROTOCOL.md.
func TestValuesSurvive(t *testing.T) {
	id := uuid.New()
	at := time.Date(2026, 11, 30, 3, 4, 5, 678_901_234, time.UTC)
	var w Writer
	fields := w.Map()
	fields.Field("id").Bytes16(id)
	fields.Field("number").Int(math.MaxInt64)
	fields.Field("at").Time(at)
	fields.Field("blob").Blob(&commonpb.DataBlob{Data: []byte{1, 2}, EncodingType: enumspb.ENCODING_TYPE_JSON})
	fields.Field("unknown").Array(2)
	w.Int(1)
	w.Text("two")
	fields.Field("flag").Bool(true)
	fields.End()

	r := NewReader(w.Bytes())
	seen := map[string]any{}
	r.Fields(func(name string) {
		switch name {
		case "id":
			seen[name] = r.UUID()
		case "number":
			seen[name] = r.Int()
		case "at":
			seen[name] = r.Time()
		case "blob":
			blob := r.Blob()
			seen[name] = []any{blob.Data, blob.EncodingType}
		case "flag":
			seen[name] = r.Bool()
		}
	})
	require.NoError(t, r.Err())
	require.Equal(t, map[string]any{
		"id": id.String(), "number": int64(math.MaxInt64), "at": at, "flag": true,
		"blob": []any{[]byte{1, 2}, enumspb.ENCODING_TYPE_JSON},
	}, seen)
}

// nil blobs and unknown encodings become what the cell accepts.
func TestBlobsThatTheCellWouldRefuse(t *testing.T) {
	for name, blob := range map[string]*commonpb.DataBlob{
		"nil":              nil,
		"nil data":         {},
		"unknown encoding": {EncodingType: -1},
	} {
		t.Run(name, func(t *testing.T) {
			var w Writer
			w.Blob(blob)
			require.Equal(t, []byte{0x92, 0xc4, 0x00, 0x00}, w.Bytes())
		})
	}
}

// Trailing fields of a tuple that are left out keep their defaults.
func TestBlobWithoutEncodingIsProto3(t *testing.T) {
	r := NewReader([]byte{0x91, 0xc4, 0x01, 0x07})
	require.Equal(t, enumspb.ENCODING_TYPE_PROTO3, r.Blob().EncodingType)
	require.NoError(t, r.Err())
}

// Durations are ISO 8601 in seconds.
func TestDurations(t *testing.T) {
	for duration, text := range map[time.Duration]string{
		3500 * time.Millisecond: "PT3.500000000S", 0: "PT0.000000000S", -time.Nanosecond: "-PT0.000000001S", time.Hour: "PT3600.000000000S",
		math.MaxInt64: "PT9223372036.854775807S", math.MinInt64: "-PT9223372036.854775808S",
	} {
		require.Equal(t, text, isoDuration(duration))
	}
}

// An answer that is cut off, too long or of another type is an error, and never a panic or an endless loop.
func TestDamagedAnswers(t *testing.T) {
	var w Writer
	fields := w.Map()
	fields.Field("nodes").Array(1)
	w.Text("not a number")
	fields.End()
	read := func(answer []byte) error {
		r := NewReader(answer)
		r.Fields(func(string) { r.Elements(func() { r.Int() }) })
		return r.Err()
	}
	require.Error(t, read(w.Bytes()))
	for size := range w.Bytes() {
		require.Error(t, read(w.Bytes()[:size]))
	}
	require.Error(t, read([]byte{0xdf, 0xff, 0xff, 0xff, 0xff}), "a map of 4 billion entries")
	require.ErrorIs(t, read([]byte{0x80, 0x80}), errTrailing)
}
