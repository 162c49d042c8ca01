package stores

import (
	"context"

	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

// queue is the queue that replicates namespaces between clusters, and its dead letters.
type queue struct {
	base
	queueType persistence.QueueType
}

var _ persistence.Queue = (*queue)(nil)

const replicationQueue = "namespace_replication_queue."

func (q *queue) Init(ctx context.Context, ackLevels *blob) error {
	r := newWrite(replicationQueue + "init")
	r.field("data").Blob(ackLevels)
	return run(ctx, q, r)
}

func (q *queue) EnqueueMessage(ctx context.Context, message *blob) error {
	_, err := q.enqueue(ctx, "enqueue_message", message)
	return err
}

func (q *queue) EnqueueMessageToDLQ(ctx context.Context, message *blob) (int64, error) {
	return q.enqueue(ctx, "enqueue_message_to_dlq", message)
}

func (q *queue) enqueue(ctx context.Context, method string, message *blob) (int64, error) {
	r := newWrite(replicationQueue + method)
	r.field("data").Blob(message)
	id := persistence.EmptyQueueMessageID
	err := ask(ctx, q, r, func(reader *wire.Reader) { id = reader.Int() })
	return id, err
}

// ReadMessages reads on if all messages of a page were altered, because Temporal takes an empty page for the end of the queue.
func (q *queue) ReadMessages(ctx context.Context, lastMessageID int64, maxCount int) ([]*persistence.QueueMessage, error) {
	for {
		r := newRead(replicationQueue + "read_messages")
		r.field("last_message_id").Int(lastMessageID)
		r.field("max_count").Int(int64(maxCount))
		var messages []*persistence.QueueMessage
		before := lastMessageID
		err := ask(ctx, q, r, func(reader *wire.Reader) { messages, lastMessageID = q.messages(reader, q.queueType, before) })
		if err != nil || len(messages) > 0 || lastMessageID == before {
			return messages, err
		}
	}
}

func (q *queue) ReadMessagesFromDLQ(
	ctx context.Context, firstMessageID, lastMessageID int64, pageSize int, pageToken []byte,
) ([]*persistence.QueueMessage, []byte, error) {
	r := newRead(replicationQueue + "read_messages_from_dlq")
	r.field("first_message_id").Int(firstMessageID)
	r.field("last_message_id").Int(lastMessageID)
	r.page(pageSize, pageToken)
	var messages []*persistence.QueueMessage
	var token []byte
	err := ask(ctx, q, r, func(reader *wire.Reader) {
		reader.Fields(func(name string) {
			switch name {
			case "messages":
				messages, _ = q.messages(reader, -q.queueType, 0)
			case "next_page_token":
				token = reader.Raw()
			}
		})
	})
	return messages, token, err
}

func (q *queue) DeleteMessagesBefore(ctx context.Context, messageID int64) error {
	r := newWrite(replicationQueue + "delete_messages_before")
	r.field("message_id").Int(messageID)
	return run(ctx, q, r)
}

func (q *queue) DeleteMessageFromDLQ(ctx context.Context, messageID int64) error {
	r := newWrite(replicationQueue + "delete_message_from_dlq")
	r.field("message_id").Int(messageID)
	return run(ctx, q, r)
}

func (q *queue) RangeDeleteMessagesFromDLQ(ctx context.Context, firstMessageID, lastMessageID int64) error {
	r := newWrite(replicationQueue + "range_delete_messages_from_dlq")
	r.field("first_message_id").Int(firstMessageID)
	r.field("last_message_id").Int(lastMessageID)
	return run(ctx, q, r)
}

func (q *queue) UpdateAckLevel(ctx context.Context, metadata *persistence.InternalQueueMetadata) error {
	return q.updateAckLevels(ctx, "update_ack_level", metadata)
}

func (q *queue) UpdateDLQAckLevel(ctx context.Context, metadata *persistence.InternalQueueMetadata) error {
	return q.updateAckLevels(ctx, "update_dlq_ack_level", metadata)
}

func (q *queue) updateAckLevels(ctx context.Context, method string, metadata *persistence.InternalQueueMetadata) error {
	r := newWrite(replicationQueue + method)
	r.field("data").Blob(metadata.Blob)
	r.field("version").Int(metadata.Version)
	return run(ctx, q, r)
}

func (q *queue) GetAckLevels(ctx context.Context) (*persistence.InternalQueueMetadata, error) {
	return q.ackLevels(ctx, "get_ack_levels")
}

func (q *queue) GetDLQAckLevels(ctx context.Context) (*persistence.InternalQueueMetadata, error) {
	return q.ackLevels(ctx, "get_dlq_ack_levels")
}

func (q *queue) ackLevels(ctx context.Context, method string) (*persistence.InternalQueueMetadata, error) {
	metadata := &persistence.InternalQueueMetadata{}
	err := ask(ctx, q, newRead(replicationQueue+method), func(reader *wire.Reader) {
		reader.Fields(func(name string) {
			switch name {
			case "data":
				metadata.Blob = reader.Blob()
			case "version":
				metadata.Version = reader.Int()
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return metadata, nil
}

// messages reads several QueueMessages.
// messages reads the messages of a page, and returns the id of the last one; last if there is none. It leaves out messages that were
// altered. The store keeps their rows.
func (q *queue) messages(
	reader *wire.Reader, queueType persistence.QueueType, last int64,
) ([]*persistence.QueueMessage, int64) {
	var messages []*persistence.QueueMessage
	reader.Elements(func() {
		message := &persistence.QueueMessage{QueueType: queueType}
		var why reason
		unreadable := false
		reader.Fields(func(name string) {
			switch name {
			case "message_id":
				message.ID = reader.Int()
			case "data":
				data := reader.Blob()
				message.Data, message.Encoding = data.GetData(), data.GetEncodingType().String()
			case "unreadable":
				why, unreadable = readUnreadable(reader)
			}
		})
		last = message.ID
		if unreadable {
			q.logger.Error("A message was altered, and is left out. Run strongroom damaged list.",
				tag.Int64("message-id", message.ID), tag.String("reason", why.message))
			return
		}
		messages = append(messages, message)
	})
	return messages, last
}
