package suites

import (
	"context"
	"fmt"
	"math"
	"net"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	enumsspb "go.temporal.io/server/api/enums/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/service/history/tasks"
)

// numbersShard is a shard that no suite uses.
const numbersShard = 900

// borders are the numbers from 0 up at which an encoding or a column gets too small.
func borders() []int64 {
	numbers := []int64{0, 1, math.MaxInt64 - 2, math.MaxInt64 - 1, math.MaxInt64}
	for _, bits := range []uint{7, 8, 15, 16, 31, 32, 53} {
		for offset := int64(-1); offset <= 1; offset++ {
			numbers = append(numbers, int64(1)<<bits+offset)
		}
	}
	return numbers
}

// TestNumbers writes Temporal's numbers of 16, 32 and 64 bits through the stores, and reads them back.
func TestNumbers(t *testing.T) {
	f := factoryFor(t)
	executions, queues := store(t, f.NewExecutionStore), store(t, f.NewTaskStore)
	fair, clusters := store(t, f.NewFairTaskStore), store(t, f.NewClusterMetadataStore)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	f.createShard(ctx, t, numbersShard)
	for _, number := range borders() {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			mutableState(ctx, t, executions, f.namespaceID, number)
			historyTask(ctx, t, executions, f.namespaceID, number)
			queuedTask(ctx, t, queues, f.namespaceID, number, 0)
			if number > 0 {
				queuedTask(ctx, t, fair, f.namespaceID, 7, number)
			}
			if number <= math.MaxUint16 {
				member(ctx, t, clusters, uint16(number)) // #nosec G115 - in its range
			}
		})
	}
}

func mutableState(ctx context.Context, t *testing.T, executions persistence.ExecutionStore, namespaceID string, number int64) {
	t.Helper()
	numbered := map[int64]*commonpb.DataBlob{number: payloadOf("entry")}
	state := &persistencespb.WorkflowExecutionState{
		RunId: uuid.NewString(), CreateRequestId: "request", State: enumsspb.WORKFLOW_EXECUTION_STATE_CREATED,
		Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
	}
	encoded, err := state.Marshal()
	require.NoError(t, err)
	snapshot := persistence.InternalWorkflowSnapshot{
		NamespaceID: namespaceID, WorkflowID: uuid.NewString(), RunID: state.RunId, ExecutionInfoBlob: payloadOf("info"),
		ExecutionState: state, ExecutionStateBlob: payloadOf(string(encoded)),
		NextEventID: number, LastWriteVersion: -number - 1, DBRecordVersion: number, Condition: number,
		ActivityInfos: numbered, ChildExecutionInfos: numbered, RequestCancelInfos: numbered, SignalInfos: numbered,
	}
	archetype := chasm.ArchetypeID(chasm.WorkflowArchetypeID)
	if number > 0 && number <= math.MaxUint32 {
		archetype = chasm.ArchetypeID(number)
	}
	_, err = executions.CreateWorkflowExecution(ctx, &persistence.InternalCreateWorkflowExecutionRequest{
		ShardID: numbersShard, RangeID: 1, Mode: persistence.CreateWorkflowModeBrandNew, ArchetypeID: archetype,
		NewWorkflowSnapshot: snapshot,
	})
	require.NoError(t, err)
	found, err := executions.GetWorkflowExecution(ctx, &persistence.GetWorkflowExecutionRequest{
		ShardID: numbersShard, NamespaceID: namespaceID, WorkflowID: snapshot.WorkflowID, RunID: snapshot.RunID, ArchetypeID: archetype,
	})
	require.NoError(t, err)
	require.Equal(t, number, found.DBRecordVersion)
	require.Equal(t, number, found.State.NextEventID)
	for _, entries := range []map[int64]*commonpb.DataBlob{
		found.State.ActivityInfos, found.State.ChildExecutionInfos, found.State.RequestCancelInfos, found.State.SignalInfos,
	} {
		require.Len(t, entries, 1)
		require.Equal(t, []byte("entry"), entries[number].GetData())
	}
	current, err := executions.GetCurrentExecution(ctx, &persistence.GetCurrentExecutionRequest{
		ShardID: numbersShard, NamespaceID: namespaceID, WorkflowID: snapshot.WorkflowID, ArchetypeID: archetype,
	})
	require.NoError(t, err)
	require.Equal(t, snapshot.RunID, current.RunID)
}

// historyTask adds tasks with a number as id and as time. The largest id is refused, because no range ends after it.
func historyTask(ctx context.Context, t *testing.T, executions persistence.ExecutionStore, namespaceID string, number int64) {
	t.Helper()
	for category, key := range map[tasks.Category]tasks.Key{
		tasks.CategoryTransfer: tasks.NewImmediateKey(number),
		tasks.CategoryTimer:    tasks.NewKey(time.Unix(0, number).UTC(), number),
	} {
		err := executions.AddHistoryTasks(ctx, &persistence.InternalAddHistoryTasksRequest{
			ShardID: numbersShard, RangeID: 1, NamespaceID: namespaceID, WorkflowID: "numbers",
			Tasks: map[tasks.Category][]persistence.InternalHistoryTask{category: {{Key: key, Blob: payloadOf("task")}}},
		})
		if number == math.MaxInt64 {
			require.IsType(t, &persistence.InvalidPersistenceRequestError{}, err)
			continue
		}
		require.NoError(t, err)
		page, err := executions.GetHistoryTasks(ctx, &persistence.GetHistoryTasksRequest{
			ShardID: numbersShard, TaskCategory: category, InclusiveMinTaskKey: key,
			ExclusiveMaxTaskKey: tasks.NewKey(key.FireTime, number+1), BatchSize: 10,
		})
		require.NoError(t, err)
		require.Len(t, page.Tasks, 1)
		require.Equal(t, number, page.Tasks[0].Key.TaskID)
		require.True(t, page.Tasks[0].Key.FireTime.Equal(key.FireTime))
		require.NoError(t, executions.CompleteHistoryTask(ctx, &persistence.CompleteHistoryTaskRequest{
			ShardID: numbersShard, TaskCategory: category, TaskKey: key,
		}))
	}
}

// queuedTask adds a task, reads it and completes it. The larger of id and pass is also the range id of the queue, and the subqueue if it fits.
func queuedTask(ctx context.Context, t *testing.T, queues persistence.TaskStore, namespaceID string, taskID, pass int64) {
	t.Helper()
	number, name := max(taskID, pass), uuid.NewString()
	require.NoError(t, queues.CreateTaskQueue(ctx, &persistence.InternalCreateTaskQueueRequest{
		NamespaceID: namespaceID, TaskQueue: name, TaskType: enumspb.TASK_QUEUE_TYPE_NEXUS, RangeID: number, TaskQueueInfo: payloadOf("queue"),
	}))
	queue, err := queues.GetTaskQueue(ctx, &persistence.InternalGetTaskQueueRequest{
		NamespaceID: namespaceID, TaskQueue: name, TaskType: enumspb.TASK_QUEUE_TYPE_NEXUS,
	})
	require.NoError(t, err)
	require.Equal(t, number, queue.RangeID)
	subqueue := persistence.SubqueueZero
	if number <= math.MaxInt32 {
		subqueue = int(number)
	}
	_, err = queues.CreateTasks(ctx, &persistence.InternalCreateTasksRequest{
		NamespaceID: namespaceID, TaskQueue: name, TaskType: enumspb.TASK_QUEUE_TYPE_NEXUS, RangeID: number, TaskQueueInfo: queue.TaskQueueInfo,
		Tasks: []*persistence.InternalCreateTask{{TaskPass: pass, TaskId: taskID, Task: payloadOf("task"), Subqueue: subqueue}},
	})
	if number == math.MaxInt64 {
		require.IsType(t, &persistence.InvalidPersistenceRequestError{}, err)
		return
	}
	require.NoError(t, err)
	page, err := queues.GetTasks(ctx, &persistence.GetTasksRequest{
		NamespaceID: namespaceID, TaskQueue: name, TaskType: enumspb.TASK_QUEUE_TYPE_NEXUS, PageSize: 10, Subqueue: subqueue,
		InclusiveMinPass: pass, InclusiveMinTaskID: taskID, ExclusiveMaxTaskID: math.MaxInt64,
	})
	require.NoError(t, err)
	require.Len(t, page.Tasks, 1)
	bound := &persistence.CompleteTasksLessThanRequest{
		NamespaceID: namespaceID, TaskQueueName: name, TaskType: enumspb.TASK_QUEUE_TYPE_NEXUS, ExclusiveMaxTaskID: math.MaxInt64,
		Subqueue: subqueue, Limit: math.MaxInt32,
	}
	if pass > 0 {
		bound.ExclusiveMaxPass, bound.ExclusiveMaxTaskID = pass, taskID+1
	}
	completed, err := queues.CompleteTasksLessThan(ctx, bound)
	require.NoError(t, err)
	require.Equal(t, 1, completed)
}

func member(ctx context.Context, t *testing.T, clusters persistence.ClusterMetadataStore, port uint16) {
	t.Helper()
	host := uuid.New()
	started := time.Unix(int64(port), 0).UTC()
	heartbeat := &persistence.UpsertClusterMembershipRequest{
		Role: persistence.Worker, HostID: host[:], RPCAddress: net.ParseIP("10.0.0.1"), RPCPort: port,
		SessionStart: started, RecordExpiry: time.Hour,
	}
	require.NoError(t, clusters.UpsertClusterMembership(ctx, heartbeat))
	found, err := clusters.GetClusterMembers(ctx, &persistence.GetClusterMembersRequest{HostIDEquals: host[:]})
	require.NoError(t, err)
	require.Len(t, found.ActiveMembers, 1)
	require.Equal(t, port, found.ActiveMembers[0].RPCPort)
	require.True(t, found.ActiveMembers[0].SessionStart.Equal(started))
	// Temporal's suite of cluster metadata expects that there is no host, so this one expires.
	heartbeat.RecordExpiry = time.Millisecond
	require.NoError(t, clusters.UpsertClusterMembership(ctx, heartbeat))
	require.Eventually(t, func() bool {
		found, err := clusters.GetClusterMembers(ctx, &persistence.GetClusterMembersRequest{HostIDEquals: host[:]})
		return err == nil && len(found.ActiveMembers) == 0
	}, time.Minute, time.Millisecond)
}
