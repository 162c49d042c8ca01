package stores

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/failure"
	"strongroom/temporal/internal/wire"
)

// Doer calls an operation of the cell's stores. *client.Client is one.
type Doer interface {
	Do(ctx context.Context, call client.Call) ([]byte, error)
}

// request is a call whose arguments are being written. It keeps the first argument that is not valid.
type request struct {
	call   client.Call
	writer wire.Writer
	fields *wire.Map
	err    error
}

func newRead(operation string) *request {
	r := &request{call: client.Call{Operation: operation}}
	r.fields = r.writer.Map()
	return r
}

func newWrite(operation string) *request {
	r := newRead(operation)
	r.call.Write = true
	return r
}

func (r *request) field(name string) *wire.Writer { return r.fields.Field(name) }

// shard adds the argument shard_id, and sends the call to the shard's worker.
func (r *request) shard(shardID int32) {
	r.call.Shard = shardID
	r.field("shard_id").Int(int64(shardID))
}

// uuid adds an argument that is a UUID.
func (r *request) uuid(name, value string) { r.id(r.field(name), name, value) }

// id writes a UUID.
func (r *request) id(writer *wire.Writer, name, value string) {
	id, err := uuid.Parse(value)
	if err != nil {
		r.refuse(name + " is not a UUID")
	}
	writer.Bytes16(id)
}

// page adds the arguments of a page.
func (r *request) page(size int, token []byte) {
	r.field("page_size").Int(int64(size))
	r.pageToken(token)
}

func (r *request) pageToken(token []byte) {
	if len(token) > 0 {
		r.field("page_token").Raw(token)
	}
}

// archetype adds the argument archetype_id, which is 0 for workflows.
func (r *request) archetype(fields *wire.Map, id chasm.ArchetypeID) {
	switch id {
	case chasm.UnspecifiedArchetypeID:
		r.refuse("the archetype of the execution is not specified")
	case chasm.WorkflowArchetypeID: // the default, 0
	default:
		fields.Field("archetype_id").Int(int64(id))
	}
}

func (r *request) refuse(message string) {
	if r.err == nil {
		r.err = &persistence.InvalidPersistenceRequestError{Msg: r.call.Operation + ": " + message}
	}
}

// do sends a request. It returns the answer, or Temporal's error.
func do(ctx context.Context, doer Doer, r *request) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.fields.End()
	r.call.Arguments = r.writer.Bytes()
	answer, err := doer.Do(ctx, r.call)
	if err != nil {
		return nil, failure.Convert(r.call, err)
	}
	return answer, nil
}

// run sends a request whose answer is nothing.
func run(ctx context.Context, doer Doer, r *request) error {
	_, err := do(ctx, doer, r)
	return err
}

// ask sends a request and reads its answer with read.
func ask(ctx context.Context, doer Doer, r *request, read func(*wire.Reader)) error {
	answer, err := do(ctx, doer, r)
	if err != nil {
		return err
	}
	return decode(r.call, answer, read)
}

// decode reads an answer. The write of an answer that can't be read is done, but its result is not known.
func decode(call client.Call, answer []byte, read func(*wire.Reader)) error {
	reader := wire.NewReader(answer)
	read(reader)
	err := reader.Err()
	switch {
	case err == nil:
		return nil
	case call.Write:
		return failure.UnknownOutcome(call, "the answer can't be read: "+err.Error())
	default:
		return serviceerror.NewUnavailable(fmt.Sprintf("%s: the answer can't be read: %v", call.Operation, err))
	}
}

// readPage reads an answer that is a page, and returns the token of the next page.
//
// element reads an element of the list with this name. unreadable reads a row that can't be opened; if it is nil, these rows are skipped.
func readPage(reader *wire.Reader, list string, element, unreadable func()) (token []byte) {
	reader.Fields(func(name string) {
		switch {
		case name == list:
			reader.Elements(element)
		case name == "unreadable" && unreadable != nil:
			reader.Elements(unreadable)
		case name == "next_page_token":
			token = reader.Raw()
		}
	})
	return token
}

// collect returns a function that reads an element and appends it to a list.
func collect[T any](list *[]T, reader *wire.Reader, read func(*wire.Reader) T) func() {
	return func() { *list = append(*list, read(reader)) }
}

// watcher shows the errors of the cell to a store, before they become Temporal's.
type watcher struct {
	Doer
	saw func(*client.Error)
}

// Do calls the cell.
func (w watcher) Do(ctx context.Context, call client.Call) ([]byte, error) {
	answer, err := w.Doer.Do(ctx, call)
	var failed *client.Error
	if errors.As(err, &failed) {
		w.saw(failed)
	}
	return answer, err
}
