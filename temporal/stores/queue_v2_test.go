package stores

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

// A dead task of a deleted namespace can't be sealed. It is dropped, because Temporal would try again without end. Every other error
// keeps it.
func TestDeadTasksOfADeletedNamespace(t *testing.T) {
	task, err := serialization.NewSerializer().TransferTaskInfoToBlob(&persistencespb.TransferTaskInfo{NamespaceId: uuid.NewString()})
	require.NoError(t, err)
	letter, err := (&persistencespb.HistoryTask{ShardId: 1, Blob: task}).Marshal()
	require.NoError(t, err)
	for kind, dropped := range map[string]bool{
		"NamespaceNotFound": true, "KeyDestroyed": true, "KmsUnavailable": false, "PermissionDenied": false, "NotFound": false,
	} {
		store, err := factoryOf(&cell{answer: func(client.Call, *wire.Writer) error {
			return &client.Error{Kinds: []string{kind, "StrongroomError"}}
		}}).NewQueueV2()
		require.NoError(t, err)
		enqueue := func(data []byte) error {
			_, err := store.EnqueueMessage(context.Background(), &persistence.InternalEnqueueMessageRequest{
				QueueType: persistence.QueueTypeHistoryDLQ, QueueName: "q", Blob: &blob{Data: data, EncodingType: enumspb.ENCODING_TYPE_PROTO3},
			})
			return err
		}
		require.Equal(t, dropped, enqueue(letter) == nil, kind)
		require.Error(t, enqueue([]byte("no task")), kind)
	}
	store, err := factoryOf(&cell{answer: func(client.Call, *wire.Writer) error {
		return &client.Error{Kinds: []string{"NotFound"}}
	}}).NewQueueV2()
	require.NoError(t, err)
	_, err = store.EnqueueMessage(context.Background(), &persistence.InternalEnqueueMessageRequest{
		QueueType: persistence.QueueTypeHistoryDLQ, QueueName: "q", Blob: &blob{Data: letter, EncodingType: enumspb.ENCODING_TYPE_PROTO3},
	})
	require.IsType(t, &serviceerror.NotFound{}, err)
}
