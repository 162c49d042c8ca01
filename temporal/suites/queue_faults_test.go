package suites

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/stores"
)

// This file is for RunQueueV2TestSuiteForSQL, whose other half makes each statement of a SQL store fail. Here each call of the cell does.

// failing is a cell whose calls fail before or after they reach it.
type failing struct {
	stores.Doer
	failure *client.Error
	// reached is whether the call was done before it failed.
	reached bool
}

func (f *failing) Do(ctx context.Context, call client.Call) ([]byte, error) {
	if f.failure == nil {
		return f.Doer.Do(ctx, call)
	}
	if f.reached {
		if _, err := f.Doer.Do(ctx, call); err != nil {
			return nil, err
		}
	}
	return nil, f.failure
}

const queueType = persistence.QueueTypeHistoryNormal

// TestQueueV2Faults makes each operation of a named queue fail. Temporal gets the error that fits, and a message is stored only if the
// call reached the cell.
func TestQueueV2Faults(t *testing.T) {
	cell := &failing{Doer: factoryFor(t).doer}
	queue, err := stores.NewFactory(cell, "active", log.NewTestLogger(), serialization.NewSerializer()).NewQueueV2()
	require.NoError(t, err)
	ctx, name := context.Background(), t.Name()
	_, err = queue.CreateQueue(ctx, &persistence.InternalCreateQueueRequest{QueueType: queueType, QueueName: name})
	require.NoError(t, err)

	writes := map[string]func() error{
		"CreateQueue": func() error {
			_, err := queue.CreateQueue(ctx, &persistence.InternalCreateQueueRequest{QueueType: queueType, QueueName: name + " 2"})
			return err
		},
		"EnqueueMessage": func() error { return enqueue(ctx, queue, name) },
		"RangeDeleteMessages": func() error {
			_, err := queue.RangeDeleteMessages(ctx, &persistence.InternalRangeDeleteMessagesRequest{QueueType: queueType, QueueName: name})
			return err
		},
	}
	reads := map[string]func() error{
		"ReadMessages": func() error { _, err := messages(ctx, queue, name); return err },
		"ListQueues": func() error {
			_, err := queue.ListQueues(ctx, &persistence.InternalListQueuesRequest{QueueType: queueType, PageSize: 10})
			return err
		},
	}
	for operation, write := range writes {
		t.Run(operation, func(t *testing.T) {
			cell.failure = &client.Error{Kinds: []string{"DatabaseUnavailable", "StorageError"}, Retryable: true}
			require.IsType(t, &serviceerror.ResourceExhausted{}, write(), "surely not committed")
			cell.failure = &client.Error{Kinds: []string{client.KindTimeout}, MayHaveBeenCommitted: true}
			require.IsType(t, &persistence.TimeoutError{}, write(), "not known")
			cell.failure = nil
		})
	}
	for operation, read := range reads {
		t.Run(operation, func(t *testing.T) {
			cell.failure = &client.Error{Kinds: []string{"DatabaseUnavailable", "StorageError"}, Retryable: true}
			require.IsType(t, &serviceerror.Unavailable{}, read())
			cell.failure = nil
		})
	}

	cell.failure, cell.reached = &client.Error{Kinds: []string{client.KindTimeout}, MayHaveBeenCommitted: true}, true
	require.IsType(t, &persistence.TimeoutError{}, enqueue(ctx, queue, name))
	cell.failure = nil
	stored, err := messages(ctx, queue, name)
	require.NoError(t, err)
	require.Len(t, stored, 1, "the write that timed out, and none of those that failed before they reached the cell")
}

// TestQueueV2Concurrency has several writers. Message ids have no gap, and none is given twice.
func TestQueueV2Concurrency(t *testing.T) {
	queue := store(t, factoryFor(t).NewQueueV2)
	ctx, name := context.Background(), t.Name()
	_, err := queue.CreateQueue(ctx, &persistence.InternalCreateQueueRequest{QueueType: queueType, QueueName: name})
	require.NoError(t, err)
	const writers = 20
	failures := make([]error, writers)
	var group sync.WaitGroup
	for index := range writers {
		group.Go(func() { failures[index] = enqueue(ctx, queue, name) })
	}
	group.Wait()
	for _, failure := range failures {
		require.NoError(t, failure)
	}
	stored, err := messages(ctx, queue, name)
	require.NoError(t, err)
	require.Len(t, stored, writers)
	for index, message := range stored {
		require.Equal(t, int64(index), message.MetaData.ID)
	}
}

// TestQueueV2ForeignTokens gives each list the token of the other one, and of another queue.
func TestQueueV2ForeignTokens(t *testing.T) {
	queue := store(t, factoryFor(t).NewQueueV2)
	ctx := context.Background()
	for index := range 2 {
		name := fmt.Sprintf("%s %d", t.Name(), index)
		_, err := queue.CreateQueue(ctx, &persistence.InternalCreateQueueRequest{QueueType: queueType, QueueName: name})
		require.NoError(t, err)
		require.NoError(t, enqueue(ctx, queue, name))
	}
	first := &persistence.InternalReadMessagesRequest{QueueType: queueType, QueueName: t.Name() + " 0", PageSize: 1}
	page, err := queue.ReadMessages(ctx, first)
	require.NoError(t, err)
	_, err = queue.ReadMessages(ctx, &persistence.InternalReadMessagesRequest{
		QueueType: queueType, QueueName: t.Name() + " 1", PageSize: 1, NextPageToken: page.NextPageToken,
	})
	require.ErrorIs(t, err, persistence.ErrInvalidReadQueueMessagesNextPageToken)
	_, err = queue.ListQueues(ctx, &persistence.InternalListQueuesRequest{QueueType: queueType, PageSize: 1, NextPageToken: page.NextPageToken})
	require.ErrorIs(t, err, persistence.ErrInvalidListQueuesNextPageToken)
}

func enqueue(ctx context.Context, queue persistence.QueueV2, name string) error {
	_, err := queue.EnqueueMessage(ctx, &persistence.InternalEnqueueMessageRequest{
		QueueType: queueType, QueueName: name, Blob: &commonpb.DataBlob{Data: []byte("1"), EncodingType: enumspb.ENCODING_TYPE_JSON},
	})
	return err
}

func messages(ctx context.Context, queue persistence.QueueV2, name string) ([]persistence.QueueV2Message, error) {
	page, err := queue.ReadMessages(ctx, &persistence.InternalReadMessagesRequest{QueueType: queueType, QueueName: name, PageSize: 100})
	if err != nil {
		return nil, err
	}
	return page.Messages, nil
}
