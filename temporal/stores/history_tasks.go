package stores

import (
	"context"
	"fmt"
	"sort"
	"time"

	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/service/history/tasks"

	"strongroom/temporal/internal/wire"
)

func (s *executionStore) AddHistoryTasks(ctx context.Context, request *persistence.InternalAddHistoryTasksRequest) error {
	r := newWrite("history_tasks.add_history_tasks")
	r.shard(request.ShardID)
	r.uuid("namespace_id", request.NamespaceID)
	r.field("range_id").Int(request.RangeID)
	if len(request.Tasks) == 0 {
		r.field("tasks").Map().End()
	}
	historyTasks(r.fields, request.Tasks)
	return run(ctx, s, r)
}

func (s *executionStore) GetHistoryTasks(
	ctx context.Context, request *persistence.GetHistoryTasksRequest,
) (*persistence.InternalGetHistoryTasksResponse, error) {
	page, err := s.historyTaskRange(ctx, request.ShardID, request.TaskCategory,
		request.InclusiveMinTaskKey, request.ExclusiveMaxTaskKey, request.BatchSize, request.NextPageToken)
	if err != nil {
		return nil, err
	}
	return s.withPlaceholders(request.ShardID, request.TaskCategory, page)
}

// CompleteHistoryTask does nothing if it may, as in Temporal's SQL stores: the range is completed later.
func (s *executionStore) CompleteHistoryTask(ctx context.Context, request *persistence.CompleteHistoryTaskRequest) error {
	if request.BestEffort {
		return nil
	}
	r := newWrite("history_tasks.complete_history_task")
	r.shard(request.ShardID)
	taskCategory(r.field("category"), request.TaskCategory)
	taskKey(r.field("key"), request.TaskCategory, request.TaskKey)
	return run(ctx, s, r)
}

func (s *executionStore) RangeCompleteHistoryTasks(
	ctx context.Context, request *persistence.RangeCompleteHistoryTasksRequest,
) error {
	r := newWrite("history_tasks.range_complete_history_tasks")
	r.shard(request.ShardID)
	taskCategory(r.field("category"), request.TaskCategory)
	taskRange(r, request.TaskCategory, request.InclusiveMinTaskKey, request.ExclusiveMaxTaskKey)
	return run(ctx, s, r)
}

func (s *executionStore) PutReplicationTaskToDLQ(
	ctx context.Context, request *persistence.PutReplicationTaskToDLQRequest,
) error {
	encoded, err := s.serializer.ReplicationTaskInfoToBlob(request.TaskInfo)
	if err != nil {
		return err
	}
	r := newWrite("history_tasks.put_replication_task_to_dlq")
	r.shard(request.ShardID)
	r.uuid("namespace_id", request.TaskInfo.GetNamespaceId())
	writer := r.field("task")
	writer.Array(2)
	taskKey(writer, tasks.CategoryReplication, tasks.NewImmediateKey(request.TaskInfo.GetTaskId()))
	writer.Blob(encoded)
	r.field("source_cluster_name").Text(request.SourceClusterName)
	return run(ctx, s, r)
}

func (s *executionStore) GetReplicationTasksFromDLQ(
	ctx context.Context, request *persistence.GetReplicationTasksFromDLQRequest,
) (*persistence.InternalGetReplicationTasksFromDLQResponse, error) {
	r := newRead("history_tasks.get_replication_tasks_from_dlq")
	dlqRange(r, request.ShardID, request.SourceClusterName, request.InclusiveMinTaskKey, request.ExclusiveMaxTaskKey)
	r.field("batch_size").Int(int64(request.BatchSize))
	r.pageToken(request.NextPageToken)
	page, err := s.taskPage(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := s.leaveOutUnreadable(request.ShardID, page.unreadable); err != nil {
		return nil, err
	}
	return &persistence.InternalGetHistoryTasksResponse{Tasks: page.tasks, NextPageToken: page.token}, nil
}

// leaveOutUnreadable leaves out dead letters that can never be read. An altered one is kept by the store. It returns an error if a dead letter
// can be read later. A placeholder would lose it: Temporal asks the sending cluster for the events of the placeholder's run, which that
// cluster does not know, and deletes the range afterwards.
func (s *executionStore) leaveOutUnreadable(shardID int32, unreadable []unreadableTask) error {
	for _, row := range unreadable {
		letter := fmt.Sprintf("replication task %d of shard %d", row.key.TaskID, shardID)
		switch {
		case row.damaged:
			s.logger.Error("A dead replication task was altered, and is left out. Run strongroom damaged list.",
				tag.ShardID(shardID), tag.TaskID(row.key.TaskID), tag.String("reason", row.message))
		case row.permanent:
			s.logger.Warn("A dead replication task can never be read again.", tag.ShardID(shardID), tag.TaskID(row.key.TaskID))
		default:
			return notNow(letter, reason{message: row.message})
		}
	}
	return nil
}

func (s *executionStore) DeleteReplicationTaskFromDLQ(
	ctx context.Context, request *persistence.DeleteReplicationTaskFromDLQRequest,
) error {
	r := newWrite("history_tasks.delete_replication_task_from_dlq")
	r.shard(request.ShardID)
	r.field("source_cluster_name").Text(request.SourceClusterName)
	r.field("task_id").Int(request.TaskKey.TaskID)
	return run(ctx, s, r)
}

func (s *executionStore) RangeDeleteReplicationTaskFromDLQ(
	ctx context.Context, request *persistence.RangeDeleteReplicationTaskFromDLQRequest,
) error {
	r := newWrite("history_tasks.range_delete_replication_tasks_from_dlq")
	dlqRange(r, request.ShardID, request.SourceClusterName, request.InclusiveMinTaskKey, request.ExclusiveMaxTaskKey)
	return run(ctx, s, r)
}

func (s *executionStore) IsReplicationDLQEmpty(
	ctx context.Context, request *persistence.GetReplicationTasksFromDLQRequest,
) (bool, error) {
	r := newRead("history_tasks.is_replication_dlq_empty")
	r.shard(request.ShardID)
	r.field("source_cluster_name").Text(request.SourceClusterName)
	r.field("min_task_id").Int(request.InclusiveMinTaskKey.TaskID)
	empty := false
	err := ask(ctx, s, r, func(reader *wire.Reader) { empty = reader.Bool() })
	return empty, err
}

// taskPage is a page of a shard's tasks.
type taskPage struct {
	tasks      []persistence.InternalHistoryTask
	unreadable []unreadableTask
	token      []byte
}

// historyTaskRange reads the tasks of a category from one key up to another.
func (s *executionStore) historyTaskRange(
	ctx context.Context, shardID int32, category tasks.Category, from, to tasks.Key, batchSize int, token []byte,
) (taskPage, error) {
	r := newRead("history_tasks.get_history_tasks")
	r.shard(shardID)
	taskCategory(r.field("category"), category)
	taskRange(r, category, from, to)
	r.field("batch_size").Int(int64(batchSize))
	r.pageToken(token)
	return s.taskPage(ctx, r)
}

func (s *executionStore) taskPage(ctx context.Context, r *request) (taskPage, error) {
	var page taskPage
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		page.token = readPage(reader, "tasks", collect(&page.tasks, reader, historyTask), collect(&page.unreadable, reader, readUnreadableTask))
	})
	return page, err
}

// withPlaceholders returns a page with a placeholder in the place of each task that can't be read. A task that is left out would be
// acknowledged with those around it, and an error would stop the queue for all namespaces of the shard.
func (s *executionStore) withPlaceholders(
	shardID int32, category tasks.Category, page taskPage,
) (*persistence.InternalGetHistoryTasksResponse, error) {
	response := &persistence.InternalGetHistoryTasksResponse{Tasks: page.tasks, NextPageToken: page.token}
	if len(page.unreadable) == 0 {
		return response, nil
	}
	s.logger.Warn("History tasks can't be read now. They are tried again later.",
		tag.ShardID(shardID), tag.String("category", category.Name()), tag.Int("tasks", len(page.unreadable)))
	for _, row := range page.unreadable {
		task, err := s.placeholder(category, row)
		if err != nil {
			return nil, err
		}
		response.Tasks = append(response.Tasks, task)
	}
	sort.SliceStable(response.Tasks, func(i, j int) bool { return response.Tasks[i].Key.CompareTo(response.Tasks[j].Key) < 0 })
	return response, nil
}

// taskCategory writes a TaskCategory.
func taskCategory(writer *wire.Writer, category tasks.Category) {
	writer.Array(2)
	writer.Int(int64(category.ID()))
	writer.Int(int64(category.Type()))
}

// taskKey writes a TaskKey. A task of an immediate category has no fire time.
func taskKey(writer *wire.Writer, category tasks.Category, key tasks.Key) {
	fireTime := int64(0)
	if category.Type() == tasks.CategoryTypeScheduled {
		fireTime = nanoseconds(key.FireTime)
	}
	writer.Array(2)
	writer.Int(fireTime)
	writer.Int(key.TaskID)
}

// nanoseconds returns the nanoseconds since 1970. Go's zero time, and all others before 1970, become 0.
func nanoseconds(at time.Time) int64 {
	if at.Before(tasks.DefaultFireTime) {
		return 0
	}
	return at.UnixNano()
}

func taskRange(r *request, category tasks.Category, from, to tasks.Key) {
	taskKey(r.field("min_key"), category, from)
	taskKey(r.field("max_key"), category, to)
}

func dlqRange(r *request, shardID int32, cluster string, from, to tasks.Key) {
	r.shard(shardID)
	r.field("source_cluster_name").Text(cluster)
	r.field("min_task_id").Int(from.TaskID)
	r.field("max_task_id").Int(to.TaskID)
}

func historyTask(reader *wire.Reader) persistence.InternalHistoryTask {
	var task persistence.InternalHistoryTask
	reader.Tuple(func(index int) {
		switch index {
		case 0:
			task.Key = readTaskKey(reader)
		case 1:
			task.Blob = reader.Blob()
		}
	})
	return task
}

func readTaskKey(reader *wire.Reader) tasks.Key {
	var fireTime, taskID int64
	reader.Tuple(func(index int) {
		switch index {
		case 0:
			fireTime = reader.Int()
		case 1:
			taskID = reader.Int()
		}
	})
	return tasks.NewKey(time.Unix(0, fireTime).UTC(), taskID)
}
