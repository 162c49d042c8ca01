package stores

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

// queueV2 keeps named queues, mostly of dead history tasks.
type queueV2 struct{ base }

var _ persistence.QueueV2 = (*queueV2)(nil)

func (q *queueV2) CreateQueue(
	ctx context.Context, request *persistence.InternalCreateQueueRequest,
) (*persistence.InternalCreateQueueResponse, error) {
	r := newWrite("queues.create_queue")
	r.namedQueue(request.QueueType, request.QueueName)
	err := run(ctx, q, r)
	if errors.As(err, new(*persistence.ConditionFailedError)) {
		return nil, fmt.Errorf("%w: type = %v and name = %v", persistence.ErrQueueAlreadyExists, request.QueueType, request.QueueName)
	}
	if err != nil {
		return nil, err
	}
	return &persistence.InternalCreateQueueResponse{}, nil
}

// EnqueueMessage drops a dead task of a deleted namespace. Temporal would otherwise try to write it without end, and its queue would stop
// there. Shredding would destroy the message anyway.
func (q *queueV2) EnqueueMessage(
	ctx context.Context, request *persistence.InternalEnqueueMessageRequest,
) (*persistence.InternalEnqueueMessageResponse, error) {
	r := newWrite("queues.enqueue_message")
	r.namedQueue(request.QueueType, request.QueueName)
	r.field("data").Blob(request.Blob)
	namespaceID := namespaceOfDeadLetter(request.Blob)
	if namespaceID != "" {
		r.uuid("namespace_id", namespaceID)
	}
	response := &persistence.InternalEnqueueMessageResponse{}
	deleted := false
	err := ask(ctx, watcher{q, func(failure *client.Error) {
		deleted = failure.IsKind("NamespaceNotFound") || failure.IsKind("KeyDestroyed") || failure.IsKind("KeyWithdrawn")
	}}, r, func(reader *wire.Reader) { response.Metadata.ID = reader.Int() })
	if namespaceID != "" && deleted {
		q.logger.Warn("A dead task was dropped, because its namespace is deleted.", tag.WorkflowNamespaceID(namespaceID))
		return &persistence.InternalEnqueueMessageResponse{
			Metadata: persistence.MessageMetadata{ID: persistence.EmptyQueueMessageID},
		}, nil
	}
	if err != nil {
		return nil, queueError(err, request.QueueType, request.QueueName)
	}
	return response, nil
}

func (q *queueV2) ReadMessages(
	ctx context.Context, request *persistence.InternalReadMessagesRequest,
) (*persistence.InternalReadMessagesResponse, error) {
	if request.PageSize <= 0 {
		return nil, persistence.ErrNonPositiveReadQueueMessagesPageSize
	}
	r := newRead("queues.read_messages")
	r.namedQueue(request.QueueType, request.QueueName)
	r.page(request.PageSize, request.NextPageToken)
	response := &persistence.InternalReadMessagesResponse{}
	var letters []deadLetter
	err := ask(ctx, q, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "messages", collect(&letters, reader, readDeadLetter), nil)
	})
	if len(request.NextPageToken) > 0 && errors.As(err, new(*persistence.InvalidPersistenceRequestError)) {
		return nil, fmt.Errorf("%w: %w", persistence.ErrInvalidReadQueueMessagesNextPageToken, err)
	}
	if err != nil {
		return nil, queueError(err, request.QueueType, request.QueueName)
	}
	if response.Messages, err = q.readable(letters); err != nil {
		return nil, err
	}
	return response, nil
}

func (q *queueV2) RangeDeleteMessages(
	ctx context.Context, request *persistence.InternalRangeDeleteMessagesRequest,
) (*persistence.InternalRangeDeleteMessagesResponse, error) {
	last := request.InclusiveMaxMessageMetadata.ID
	if last < persistence.FirstQueueMessageID {
		return nil, fmt.Errorf("%w: id is %d but must be >= %d",
			persistence.ErrInvalidQueueRangeDeleteMaxMessageID, last, persistence.FirstQueueMessageID)
	}
	r := newWrite("queues.range_delete_messages")
	r.namedQueue(request.QueueType, request.QueueName)
	r.field("last_message_id").Int(last)
	response := &persistence.InternalRangeDeleteMessagesResponse{}
	err := ask(ctx, q, r, func(reader *wire.Reader) { response.MessagesDeleted = reader.Int() })
	if err != nil {
		return nil, queueError(err, request.QueueType, request.QueueName)
	}
	return response, nil
}

func (q *queueV2) ListQueues(
	ctx context.Context, request *persistence.InternalListQueuesRequest,
) (*persistence.InternalListQueuesResponse, error) {
	if request.PageSize <= 0 {
		return nil, persistence.ErrNonPositiveListQueuesPageSize
	}
	r := newRead("queues.list_queues")
	r.field("queue_type").Int(int64(request.QueueType))
	r.page(request.PageSize, request.NextPageToken)
	response := &persistence.InternalListQueuesResponse{}
	err := ask(ctx, q, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "queues", collect(&response.Queues, reader, queueInfo), nil)
	})
	if len(request.NextPageToken) > 0 && errors.As(err, new(*persistence.InvalidPersistenceRequestError)) {
		return nil, fmt.Errorf("%w: %w", persistence.ErrInvalidListQueuesNextPageToken, err)
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (r *request) namedQueue(queueType persistence.QueueV2Type, name string) {
	r.field("queue_type").Int(int64(queueType))
	r.field("queue_name").Text(name)
}

func queueError(err error, queueType persistence.QueueV2Type, name string) error {
	if _, missing := err.(*serviceerror.NotFound); missing { //nolint:errorlint // never wrapped
		return persistence.NewQueueNotFoundError(queueType, name)
	}
	return err
}

// deadLetter is a message, or the reason why it can't be read.
type deadLetter struct {
	message    persistence.QueueV2Message
	unreadable bool
	reason     reason
}

func readDeadLetter(reader *wire.Reader) deadLetter {
	var letter deadLetter
	reader.Fields(func(name string) {
		switch name {
		case "message_id":
			letter.message.MetaData.ID = reader.Int()
		case "data":
			letter.message.Data = reader.Blob()
		case "unreadable":
			letter.reason, letter.unreadable = readUnreadable(reader)
		}
	})
	return letter
}

// readable returns the messages that can be read. A message whose key is destroyed is left out, and so is one that was altered: the store
// keeps its row, because Temporal deletes all messages up to the last one that it read. A message that can be read later, or that has no
// known encoding, is an error.
func (q *queueV2) readable(letters []deadLetter) ([]persistence.QueueV2Message, error) {
	var messages []persistence.QueueV2Message
	for _, letter := range letters {
		id := letter.message.MetaData.ID
		switch {
		case !letter.unreadable && letter.message.Data.GetEncodingType() == enumspb.ENCODING_TYPE_UNSPECIFIED:
			return nil, serialization.NewUnknownEncodingTypeError(letter.message.Data.GetEncodingType().String())
		case !letter.unreadable:
			messages = append(messages, letter.message)
		case letter.reason.damaged:
			q.logger.Error("A message was altered, and is left out. Run strongroom damaged list.",
				tag.Int64("message-id", id), tag.String("reason", letter.reason.message))
		case letter.reason.permanent:
			q.logger.Warn("A message can never be read again.", tag.Int64("message-id", id), tag.String("reason", letter.reason.message))
		default:
			return nil, notNow(fmt.Sprintf("message %d", id), letter.reason)
		}
	}
	return messages, nil
}

func queueInfo(reader *wire.Reader) persistence.QueueInfo {
	var info persistence.QueueInfo
	reader.Fields(func(name string) {
		switch name {
		case "queue_name":
			info.QueueName = reader.Text()
		case "message_count":
			info.MessageCount = reader.Int()
		case "last_message_id":
			info.LastMessageID = reader.Int()
		}
	})
	return info
}

// namespaceOfDeadLetter returns the namespace of a dead history task, so that its keys seal the message and shredding destroys it. It
// is empty if the message is none.
func namespaceOfDeadLetter(message *blob) string {
	var task persistencespb.HistoryTask
	if message.GetEncodingType() != enumspb.ENCODING_TYPE_PROTO3 || proto.Unmarshal(message.GetData(), &task) != nil {
		return ""
	}
	if task.GetBlob().GetEncodingType() != enumspb.ENCODING_TYPE_PROTO3 {
		return ""
	}
	return namespaceOfTask(task.GetBlob().GetData())
}

// namespaceOfTask returns the namespace id of an encoded history task. It is the first field of every category's message but
// ArchivalTaskInfo, where it comes after the number of the task.
func namespaceOfTask(encoded []byte) string {
	const lastField = 2
	for len(encoded) > 0 {
		field, kind, size := protowire.ConsumeTag(encoded)
		if size < 0 || field > lastField {
			return ""
		}
		encoded = encoded[size:]
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeString(encoded)
			if id, err := uuid.Parse(value); err == nil {
				return id.String()
			}
			return ""
		}
		if size = protowire.ConsumeFieldValue(field, kind, encoded); size < 0 {
			return ""
		}
		encoded = encoded[size:]
	}
	return ""
}
