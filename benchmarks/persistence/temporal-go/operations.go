package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/service/history/tasks"
)

// operations make a caller's operation; they run one at a time per caller. No context has a deadline: the goroutine
// that watches one would only slow the store down.
var operations = map[string]func(c *caller) func() error{
	"update":       func(c *caller) func() error { return c.update },
	"create":       func(c *caller) func() error { return c.create },
	"append512":    func(c *caller) func() error { return func() error { return c.append(512) } },
	"append2048":   func(c *caller) func() error { return func() error { return c.append(2048) } },
	"append16384":  func(c *caller) func() error { return func() error { return c.append(16384) } },
	"read100":      func(c *caller) func() error { return c.readBranch },
	"get":          func(c *caller) func() error { return c.get },
	"create_tasks": func(c *caller) func() error { return c.createTasks },
	"get_tasks":    func(c *caller) func() error { return c.getTasks },
}

// caller is one of many that work at once. No other caller touches its runs; branches and queues are shared only
// when there are more callers than of them.
type caller struct {
	db       *database
	fixtures *fixtures
	blobs    blobs
	random   *rand.Rand
	runs     []*run
	branches []*branch
	written  []*queue
	read     []*queue
	minimum  map[*queue]int64 // where the next page begins
}

func newCaller(db *database, all *fixtures, number, callers int) *caller {
	return &caller{
		db:       db,
		fixtures: all,
		blobs:    newBlobs(uint64(number)),
		random:   rand.New(rand.NewPCG(seed+1, uint64(number))),
		runs:     share(all.runs, number, callers),
		branches: share(all.branches, number, callers),
		written:  share(all.written, number, callers),
		read:     share(all.read, number, callers),
		minimum:  make(map[*queue]int64),
	}
}

// share is every so-manieth of the items, or a single one when there are fewer items than callers.
func share[T any](all []T, number, callers int) []T {
	var own []T
	for i := number % len(all); i < len(all); i += callers {
		own = append(own, all[i])
	}
	return own
}

func pick[T any](c *caller, own []T) T {
	return own[c.random.IntN(len(own))]
}

func (c *caller) update() error {
	of := pick(c, c.runs)
	node := of.nextNode
	err := c.db.executions.UpdateWorkflowExecution(context.Background(), &persistence.InternalUpdateWorkflowExecutionRequest{
		ShardID:     of.shard,
		RangeID:     rangeID,
		Mode:        persistence.UpdateWorkflowModeUpdateCurrent,
		ArchetypeID: archetype,
		UpdateWorkflowMutation: persistence.InternalWorkflowMutation{
			NamespaceID:         namespace,
			WorkflowID:          of.workflowID,
			RunID:               of.state.RunId,
			ExecutionInfoBlob:   c.blobs.take(infoBytes),
			ExecutionState:      of.state,
			ExecutionStateBlob:  of.stateBlob,
			NextEventID:         node + 1,
			DBRecordVersion:     of.version + 1,
			UpsertActivityInfos: map[int64]*commonpb.DataBlob{node: c.blobs.take(activityBytes)},
			Tasks:               c.fixtures.historyTasks(c.blobs),
		},
		UpdateWorkflowNewEvents: []*persistence.InternalAppendHistoryNodesRequest{
			of.branch.append(node, c.fixtures.sequence.Add(1), c.blobs.take(eventBytes)),
		},
	})
	if err == nil {
		of.version++
		of.nextNode++
	}
	return err
}

func (c *caller) create() error {
	created, err := newRun(c.db, int32(c.random.IntN(shardCount))+1, uuid.NewString(), uuid.NewString())
	if err != nil {
		return err
	}
	_, err = c.db.executions.CreateWorkflowExecution(context.Background(), c.fixtures.creation(created, c.blobs))
	return err
}

func (c *caller) append(length int) error {
	of := pick(c, c.runs)
	request := of.branch.append(of.nextNode, c.fixtures.sequence.Add(1), c.blobs.take(length))
	of.nextNode++
	return c.db.executions.AppendHistoryNodes(context.Background(), request)
}

func (c *caller) readBranch() error {
	of := pick(c, c.branches)
	page, err := c.db.executions.ReadHistoryBranch(context.Background(), &persistence.InternalReadHistoryBranchRequest{
		BranchToken: of.token,
		BranchID:    of.info.BranchId,
		MinNodeID:   1,
		MaxNodeID:   branchNodes + 1,
		PageSize:    branchNodes,
		ShardID:     of.shard,
	})
	if err != nil {
		return err
	}
	read := 0
	for _, node := range page.Nodes {
		read += len(node.Events.Data)
	}
	return expect("bytes of history", read, branchNodes*nodeBytes)
}

func (c *caller) get() error {
	of := pick(c, c.runs)
	got, err := c.db.executions.GetWorkflowExecution(context.Background(), &persistence.GetWorkflowExecutionRequest{
		ShardID:     of.shard,
		NamespaceID: namespace,
		WorkflowID:  of.workflowID,
		RunID:       of.state.RunId,
		ArchetypeID: archetype,
	})
	if err != nil {
		return err
	}
	if err := expect("timers", len(got.State.TimerInfos), 1); err != nil {
		return err
	}
	// Each update before has added an activity.
	return expect("activities", len(got.State.ActivityInfos), activityCount+int(of.version)-1)
}

func (c *caller) createTasks() error {
	_, err := c.db.tasks.CreateTasks(context.Background(), pick(c, c.written).tasks(taskPage, c.blobs))
	return err
}

func (c *caller) getTasks() error {
	from := pick(c, c.read)
	minimum := c.minimum[from] + 1
	c.minimum[from] = (c.minimum[from] + taskPage) % queueTasks
	page, err := c.db.tasks.GetTasks(context.Background(), &persistence.GetTasksRequest{
		NamespaceID:        namespace,
		TaskQueue:          from.name,
		TaskType:           enumspb.TASK_QUEUE_TYPE_WORKFLOW,
		InclusiveMinTaskID: minimum,
		ExclusiveMaxTaskID: queueTasks + 1,
		PageSize:           taskPage,
	})
	if err != nil {
		return err
	}
	return expect("tasks", len(page.Tasks), taskPage)
}

func expect(what string, got, want int) error {
	if got != want {
		return fmt.Errorf("read %d %s, expected %d", got, what, want)
	}
	return nil
}

// creation starts a run as Temporal does: its first event, its rows, and the tasks that make the services act on it.
func (f *fixtures) creation(created *run, blobs blobs) *persistence.InternalCreateWorkflowExecutionRequest {
	started := created.branch.append(1, f.sequence.Add(1), blobs.take(eventBytes))
	started.IsNewBranch, started.TreeInfo = true, blobs.take(treeBytes)
	return &persistence.InternalCreateWorkflowExecutionRequest{
		ShardID:     created.shard,
		RangeID:     rangeID,
		Mode:        persistence.CreateWorkflowModeBrandNew,
		ArchetypeID: archetype,
		NewWorkflowSnapshot: persistence.InternalWorkflowSnapshot{
			NamespaceID:        namespace,
			WorkflowID:         created.workflowID,
			RunID:              created.state.RunId,
			ExecutionInfoBlob:  blobs.take(infoBytes),
			ExecutionState:     created.state,
			ExecutionStateBlob: created.stateBlob,
			NextEventID:        created.nextNode,
			DBRecordVersion:    created.version,
			Tasks:              f.historyTasks(blobs),
		},
		NewWorkflowNewEvents: []*persistence.InternalAppendHistoryNodesRequest{started},
	}
}

// historyTasks are one task for the transfer queue and one for the timer queue.
func (f *fixtures) historyTasks(blobs blobs) map[tasks.Category][]persistence.InternalHistoryTask {
	due := time.Now().UTC().Add(time.Minute)
	return map[tasks.Category][]persistence.InternalHistoryTask{
		tasks.CategoryTransfer: {{Key: tasks.NewImmediateKey(f.sequence.Add(1)), Blob: blobs.take(historyBytes)}},
		tasks.CategoryTimer:    {{Key: tasks.NewKey(due, f.sequence.Add(1)), Blob: blobs.take(historyBytes)}},
	}
}

func (b *branch) append(node, transaction int64, events *commonpb.DataBlob) *persistence.InternalAppendHistoryNodesRequest {
	return &persistence.InternalAppendHistoryNodesRequest{
		BranchToken: b.token,
		BranchInfo:  b.info,
		ShardID:     b.shard,
		Node:        persistence.InternalHistoryNode{NodeID: node, TransactionID: transaction, Events: events},
	}
}

// tasks is a request for new tasks, whose ids no other request has.
func (q *queue) tasks(count int, blobs blobs) *persistence.InternalCreateTasksRequest {
	last := q.nextID.Add(int64(count))
	created := make([]*persistence.InternalCreateTask, count)
	for i := range created {
		created[i] = &persistence.InternalCreateTask{TaskId: last - int64(count-i), Task: blobs.take(taskBytes)}
	}
	return &persistence.InternalCreateTasksRequest{
		NamespaceID: namespace,
		TaskQueue:   q.name,
		TaskType:    enumspb.TASK_QUEUE_TYPE_WORKFLOW,
		RangeID:     rangeID,
		Tasks:       created,
	}
}
