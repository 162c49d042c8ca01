package stores

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/service/history/queues"
	"go.temporal.io/server/service/history/tasks"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

var storedCategories = []tasks.Category{
	tasks.CategoryTransfer, tasks.CategoryTimer, tasks.CategoryReplication, tasks.CategoryVisibility, tasks.CategoryArchival, tasks.CategoryOutbound,
}

func keyIn(category tasks.Category, taskID int64) tasks.Key {
	if category.Type() == tasks.CategoryTypeImmediate {
		return tasks.NewImmediateKey(taskID)
	}
	return tasks.NewKey(time.Date(2026, 11, 30, 1, 2, 3, 456_789_012, time.UTC), taskID)
}

// tasksPage writes a HistoryTaskPage with tasks, and unreadable tasks with one reason.
func tasksPage(out *wire.Writer, category tasks.Category, namespaceID uuid.UUID, readable, unreadable []int64, kinds []string, permanent bool) {
	page := out.Map()
	page.Field("tasks").Array(len(readable))
	for _, taskID := range readable {
		out.Array(3)
		taskKey(out, category, keyIn(category, taskID))
		out.Blob(&blob{Data: []byte("task")})
		out.Bytes16(namespaceID)
	}
	page.Field("unreadable").Array(len(unreadable))
	for _, taskID := range unreadable {
		row := out.Map()
		taskKey(row.Field("key"), category, keyIn(category, taskID))
		row.Field("namespace_id").Bytes16(namespaceID)
		reason := row.Field("reason").Map()
		reason.Field("kinds").Array(len(kinds))
		for _, kind := range kinds {
			out.Text(kind)
		}
		reason.Field("message").Text("m")
		reason.Field("permanent").Bool(permanent)
		reason.End()
		row.End()
	}
	page.Field("next_page_token").Raw([]byte("next"))
	page.End()
}

// A task that can't be read keeps its place in the page: Temporal gets a task that it can decode, with the real namespace and key.
func TestPlaceholdersKeepTheirPlace(t *testing.T) {
	for _, category := range storedCategories {
		t.Run(category.Name(), func(t *testing.T) {
			namespaceID := uuid.New()
			store := executionsOf(t, &cell{answer: func(_ client.Call, out *wire.Writer) error {
				tasksPage(out, category, namespaceID, []int64{1, 3}, []int64{2, 4}, []string{"KmsUnavailable", "KmsError"}, false)
				return nil
			}})
			page, err := store.GetHistoryTasks(context.Background(), &persistence.GetHistoryTasksRequest{
				ShardID: 5, TaskCategory: category, InclusiveMinTaskKey: tasks.MinimumKey, ExclusiveMaxTaskKey: tasks.MaximumKey, BatchSize: 4,
			})
			require.NoError(t, err)
			require.Equal(t, []byte("next"), page.NextPageToken)
			require.Len(t, page.Tasks, 4)
			for index, row := range page.Tasks {
				require.Equal(t, keyIn(category, int64(index+1)), row.Key)
				if index%2 == 0 {
					continue
				}
				task, err := serialization.NewSerializer().DeserializeTask(category, row.Blob)
				require.NoError(t, err)
				require.Equal(t, namespaceID.String(), task.GetNamespaceID())
				require.Equal(t, placeholderWorkflowID, task.GetWorkflowID())
				require.Equal(t, row.Key.TaskID, task.GetTaskID())
				replaced, ok := placeholderOf(task.GetWorkflowID(), task.GetRunID())
				require.True(t, ok)
				require.Equal(t, category.ID(), replaced.category.ID())
				require.Equal(t, category.Type(), replaced.category.Type())
				require.Equal(t, row.Key, replaced.key)
			}
		})
	}
}

// The execution of a placeholder ends with the error that fits its row.
func TestErrorsOfPlaceholders(t *testing.T) {
	terminal := func(err error) bool {
		task, ok := err.(queues.MaybeTerminalTaskError) //nolint:errorlint // as Temporal asks
		return ok && task.IsTerminalTaskError()
	}
	for _, category := range storedCategories {
		for name, test := range map[string]struct {
			readable, unreadable []int64
			kind                 string
			permanent            bool
			right                func(err error) bool
		}{
			"readable again": {readable: []int64{2}, right: func(err error) bool {
				lost, ok := err.(*persistence.ShardOwnershipLostError) //nolint:errorlint // as Temporal asks
				return ok && lost.ShardID == 5
			}},
			"gone":     {right: isNotFound},
			"shredded": {unreadable: []int64{2}, kind: "KeyDestroyed", permanent: true, right: isNotFound},
			"damaged":  {unreadable: []int64{2}, kind: "IntegrityError", right: terminal},
			"without keys": {unreadable: []int64{2}, kind: "KmsUnavailable", right: func(err error) bool {
				_, ok := err.(*serviceerror.ResourceExhausted) //nolint:errorlint // as Temporal asks
				return ok
			}},
		} {
			t.Run(fmt.Sprintf("%s %s", category.Name(), name), func(t *testing.T) {
				doer := &cell{answer: func(_ client.Call, out *wire.Writer) error {
					tasksPage(out, category, uuid.New(), test.readable, test.unreadable, []string{test.kind}, test.permanent)
					return nil
				}}
				runID, err := placeholderRow{category, keyIn(category, 2)}.runID()
				require.NoError(t, err)
				_, err = executionsOf(t, doer).GetWorkflowExecution(context.Background(), &persistence.GetWorkflowExecutionRequest{
					ShardID: 5, NamespaceID: uuid.NewString(), WorkflowID: placeholderWorkflowID, RunID: runID,
				})
				require.True(t, test.right(err), "%T: %v", err, err)
				require.Equal(t, "history_tasks.get_history_tasks", doer.calls[0].Operation)
				require.Equal(t, int32(5), doer.calls[0].Shard)
			})
		}
	}
}

// A tenant's own workflow with the reserved id is read as every other: no run id of Temporal looks like that of a placeholder.
func TestWorkflowsWithTheReservedID(t *testing.T) {
	seven, err := uuid.NewV7()
	require.NoError(t, err)
	for _, runID := range []string{uuid.NewString(), seven.String(), "", "no UUID"} {
		_, ok := placeholderOf(placeholderWorkflowID, runID)
		require.False(t, ok, runID)
	}
	runID, err := placeholderRow{tasks.CategoryTransfer, tasks.NewImmediateKey(1)}.runID()
	require.NoError(t, err)
	_, ok := placeholderOf("another workflow", runID)
	require.False(t, ok)
}

// A task that no placeholder can replace stops its queue rather than being lost.
func TestTasksOfUnknownCategories(t *testing.T) {
	category := tasks.NewCategory(99, tasks.CategoryTypeImmediate, "later")
	store := executionsOf(t, &cell{answer: func(_ client.Call, out *wire.Writer) error {
		tasksPage(out, category, uuid.New(), nil, []int64{1}, []string{"KmsUnavailable"}, false)
		return nil
	}})
	_, err := store.GetHistoryTasks(context.Background(), &persistence.GetHistoryTasksRequest{
		ShardID: 5, TaskCategory: category, InclusiveMinTaskKey: tasks.MinimumKey, ExclusiveMaxTaskKey: tasks.MaximumKey, BatchSize: 4,
	})
	require.IsType(t, &serviceerror.Unavailable{}, err)
}

// A dead letter that can't be read gets no placeholder, because the cluster that sent it does not know the placeholder's run. Temporal
// would delete the whole range.
func TestDeadLettersThatCannotBeRead(t *testing.T) {
	for kind, right := range map[string]error{
		"KmsUnavailable": &serviceerror.ResourceExhausted{}, "IntegrityError": nil, "KeyDestroyed": nil,
	} {
		store := executionsOf(t, &cell{answer: func(_ client.Call, out *wire.Writer) error {
			tasksPage(out, tasks.CategoryReplication, uuid.New(), []int64{1}, []int64{2}, []string{kind}, kind == "KeyDestroyed")
			return nil
		}})
		page, err := store.GetReplicationTasksFromDLQ(context.Background(), &persistence.GetReplicationTasksFromDLQRequest{
			GetHistoryTasksRequest: persistence.GetHistoryTasksRequest{
				ShardID: 5, TaskCategory: tasks.CategoryReplication, InclusiveMinTaskKey: tasks.MinimumKey,
				ExclusiveMaxTaskKey: tasks.MaximumKey, BatchSize: 4,
			},
			SourceClusterName: "other",
		})
		if right != nil {
			require.IsType(t, right, err, kind)
			continue
		}
		require.NoError(t, err, kind)
		require.Len(t, page.Tasks, 1)
		require.Equal(t, int64(1), page.Tasks[0].Key.TaskID)
	}
}
