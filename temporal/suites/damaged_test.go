package suites

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/service/history/tasks"
)

const (
	damagedShard     = 950
	damagedNamespace = "7d6a2f9e-51c7-4f0e-9d3b-2f7c6f0d1a01"
	damagedName      = "damaged"
	damagedStep      = "DAMAGED_ROWS"
)

// damagedQueues are the stores of the queues. Each queue has the elements 1, 2 and 3. A queue that numbers its elements itself also has 0.
type damagedQueues struct {
	executions persistence.ExecutionStore
	queues     persistence.TaskStore
	messages   persistence.Queue
	letters    persistence.QueueV2
}

// TestDamagedRows does a step of tests/integration/temporal/test_damaged_rows.py, which alters the element 2 of each queue between
// the steps "write" and "read". Without the variable DAMAGED_ROWS it does nothing.
func TestDamagedRows(t *testing.T) {
	step := os.Getenv(damagedStep)
	if step == "" {
		return
	}
	f := factoryFor(t)
	messages, err := f.NewQueue(persistence.NamespaceReplicationQueueType)
	require.NoError(t, err)
	queues := damagedQueues{store(t, f.NewExecutionStore), store(t, f.NewTaskStore), messages, store(t, f.NewQueueV2)}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if step == "write" {
		f.createShard(ctx, t, damagedShard)
		queues.write(ctx, t)
		return
	}
	queues.readAroundTheDamage(ctx, t)
	queues.remove(ctx, t)
}

func (q damagedQueues) write(ctx context.Context, t *testing.T) {
	require.NoError(t, q.messages.Init(ctx, payloadOf("levels")))
	_, err := q.letters.CreateQueue(ctx, &persistence.InternalCreateQueueRequest{QueueType: queueType, QueueName: damagedName})
	require.NoError(t, err)
	for range 4 {
		require.NoError(t, q.messages.EnqueueMessage(ctx, payloadOf("message")))
		require.NoError(t, enqueue(ctx, q.letters, damagedName))
	}
	require.NoError(t, q.queues.CreateTaskQueue(ctx, &persistence.InternalCreateTaskQueueRequest{
		NamespaceID: damagedNamespace, TaskQueue: damagedName, TaskType: enumspb.TASK_QUEUE_TYPE_WORKFLOW, RangeID: 1, TaskQueueInfo: payloadOf("q"),
	}))
	for number := int64(1); number <= 3; number++ {
		task := persistence.InternalHistoryTask{Key: tasks.NewImmediateKey(number), Blob: payloadOf("task")}
		require.NoError(t, q.executions.AddHistoryTasks(ctx, &persistence.InternalAddHistoryTasksRequest{
			ShardID: damagedShard, RangeID: 1, NamespaceID: damagedNamespace, WorkflowID: damagedName,
			Tasks: map[tasks.Category][]persistence.InternalHistoryTask{tasks.CategoryTransfer: {task}},
		}))
		require.NoError(t, q.executions.PutReplicationTaskToDLQ(ctx, &persistence.PutReplicationTaskToDLQRequest{
			ShardID: damagedShard, SourceClusterName: damagedName,
			TaskInfo: &persistencespb.ReplicationTaskInfo{NamespaceId: damagedNamespace, WorkflowId: damagedName, TaskId: number},
		}))
		_, err := q.queues.CreateTasks(ctx, &persistence.InternalCreateTasksRequest{
			NamespaceID: damagedNamespace, TaskQueue: damagedName, TaskType: enumspb.TASK_QUEUE_TYPE_WORKFLOW, RangeID: 1,
			Tasks: []*persistence.InternalCreateTask{{TaskId: number, Task: payloadOf("task")}},
		})
		require.NoError(t, err)
	}
}

// readAroundTheDamage reads each queue. A history task keeps its place, because Temporal acknowledges a range: executing it is a
// terminal error, so that it goes to Temporal's DLQ.
func (q damagedQueues) readAroundTheDamage(ctx context.Context, t *testing.T) {
	history := q.history(ctx, t)
	require.Equal(t, []int64{1, 2, 3}, ids(history))
	placeholder, err := serialization.NewSerializer().DeserializeTask(tasks.CategoryTransfer, history[1].Blob)
	require.NoError(t, err)
	_, err = q.executions.GetWorkflowExecution(ctx, &persistence.GetWorkflowExecutionRequest{
		ShardID: damagedShard, NamespaceID: placeholder.GetNamespaceID(), WorkflowID: placeholder.GetWorkflowID(), RunID: placeholder.GetRunID(),
	})
	var terminal interface{ IsTerminalTaskError() bool }
	require.True(t, errors.As(err, &terminal) && terminal.IsTerminalTaskError(), "%v", err)
	require.Equal(t, []int64{1, 3}, ids(q.dead(ctx, t)))
	require.Len(t, q.backlog(ctx, t), 2)
	for range 2 { // a second reader gets the same
		found, err := q.messages.ReadMessages(ctx, persistence.EmptyQueueMessageID, 10)
		require.NoError(t, err)
		require.Equal(t, []int64{0, 1, 3}, messageIDs(found))
	}
	found, err := q.messages.ReadMessages(ctx, 1, 1)
	require.NoError(t, err)
	require.Equal(t, []int64{3}, messageIDs(found), "a page of the altered message alone is not the end of the queue")
	letters, err := messages(ctx, q.letters, damagedName)
	require.NoError(t, err)
	require.Len(t, letters, 3)
	require.Equal(t, int64(3), letters[2].MetaData.ID)
}

// remove acknowledges everything, as Temporal does after reading. Nothing is left.
func (q damagedQueues) remove(ctx context.Context, t *testing.T) {
	require.NoError(t, q.executions.RangeCompleteHistoryTasks(ctx, &persistence.RangeCompleteHistoryTasksRequest{
		ShardID: damagedShard, TaskCategory: tasks.CategoryTransfer, InclusiveMinTaskKey: tasks.NewImmediateKey(1), ExclusiveMaxTaskKey: tasks.NewImmediateKey(4),
	}))
	require.NoError(t, q.executions.RangeDeleteReplicationTaskFromDLQ(ctx, &persistence.RangeDeleteReplicationTaskFromDLQRequest{
		RangeCompleteHistoryTasksRequest: persistence.RangeCompleteHistoryTasksRequest{
			ShardID: damagedShard, TaskCategory: tasks.CategoryReplication, InclusiveMinTaskKey: tasks.NewImmediateKey(1),
			ExclusiveMaxTaskKey: tasks.NewImmediateKey(4),
		},
		SourceClusterName: damagedName,
	}))
	completed, err := q.queues.CompleteTasksLessThan(ctx, &persistence.CompleteTasksLessThanRequest{
		NamespaceID: damagedNamespace, TaskQueueName: damagedName, TaskType: enumspb.TASK_QUEUE_TYPE_WORKFLOW, ExclusiveMaxTaskID: 4, Limit: 10,
	})
	require.NoError(t, err)
	require.Equal(t, 3, completed)
	require.NoError(t, q.messages.DeleteMessagesBefore(ctx, 4))
	removed, err := q.letters.RangeDeleteMessages(ctx, &persistence.InternalRangeDeleteMessagesRequest{
		QueueType: queueType, QueueName: damagedName, InclusiveMaxMessageMetadata: persistence.MessageMetadata{ID: 3},
	})
	require.NoError(t, err)
	require.Equal(t, int64(4), removed.MessagesDeleted)
	require.Empty(t, q.history(ctx, t))
	require.Empty(t, q.dead(ctx, t))
	require.Empty(t, q.backlog(ctx, t))
	found, err := q.messages.ReadMessages(ctx, persistence.EmptyQueueMessageID, 10)
	require.NoError(t, err)
	require.Empty(t, found)
}

func (q damagedQueues) history(ctx context.Context, t *testing.T) []persistence.InternalHistoryTask {
	page, err := q.executions.GetHistoryTasks(ctx, &persistence.GetHistoryTasksRequest{
		ShardID: damagedShard, TaskCategory: tasks.CategoryTransfer, InclusiveMinTaskKey: tasks.NewImmediateKey(1),
		ExclusiveMaxTaskKey: tasks.NewImmediateKey(100), BatchSize: 10,
	})
	require.NoError(t, err)
	return page.Tasks
}

func (q damagedQueues) dead(ctx context.Context, t *testing.T) []persistence.InternalHistoryTask {
	page, err := q.executions.GetReplicationTasksFromDLQ(ctx, &persistence.GetReplicationTasksFromDLQRequest{
		GetHistoryTasksRequest: persistence.GetHistoryTasksRequest{
			ShardID: damagedShard, TaskCategory: tasks.CategoryReplication, InclusiveMinTaskKey: tasks.NewImmediateKey(1),
			ExclusiveMaxTaskKey: tasks.NewImmediateKey(100), BatchSize: 10,
		},
		SourceClusterName: damagedName,
	})
	require.NoError(t, err)
	return page.Tasks
}

func (q damagedQueues) backlog(ctx context.Context, t *testing.T) []*commonpb.DataBlob {
	page, err := q.queues.GetTasks(ctx, &persistence.GetTasksRequest{
		NamespaceID: damagedNamespace, TaskQueue: damagedName, TaskType: enumspb.TASK_QUEUE_TYPE_WORKFLOW, PageSize: 10, ExclusiveMaxTaskID: 100,
	})
	require.NoError(t, err)
	return page.Tasks
}

func ids(found []persistence.InternalHistoryTask) []int64 {
	var numbers []int64
	for _, task := range found {
		numbers = append(numbers, task.Key.TaskID)
	}
	return numbers
}

func messageIDs(found []*persistence.QueueMessage) []int64 {
	var numbers []int64
	for _, message := range found {
		numbers = append(numbers, message.ID)
	}
	return numbers
}
