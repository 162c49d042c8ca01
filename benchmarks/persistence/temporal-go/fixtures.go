package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	enumsspb "go.temporal.io/server/api/enums/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/persistence"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	seed       = 20261123
	shardCount = 64
	runCount   = 512
	rangeID    = 1

	infoBytes     = 1024
	stateBytes    = 200
	activityBytes = 300
	timerBytes    = 100
	eventBytes    = 1024
	historyBytes  = 120 // one transfer or timer task
	treeBytes     = 150

	activityCount = 3
	firstActivity = 5
	firstNode     = 10 // the next event of a fresh run

	branchCount = 64
	branchNodes = 100
	nodeBytes   = 2048

	queueCount = 64
	taskBytes  = 200
	taskPage   = 10
	queueTasks = 1000
)

var (
	namespace = fixedID("namespace", 0)

	// archetype makes the store use the table of current workflows, not the one of other archetypes.
	archetype = chasm.WorkflowArchetypeID
)

// run is one workflow run, and what its owner must remember to write to it again.
type run struct {
	shard      int32
	workflowID string
	state      *persistencespb.WorkflowExecutionState
	stateBlob  *commonpb.DataBlob
	branch     branch
	version    int64
	nextNode   int64
}

type branch struct {
	shard int32
	info  *persistencespb.HistoryBranch
	token []byte
}

type queue struct {
	name   string
	nextID atomic.Int64
}

type fixtures struct {
	runs     []*run
	branches []*branch
	written  []*queue
	read     []*queue
	sequence atomic.Int64 // of history tasks and transactions, each number used once
}

// prepare empties all tables and fills them again, through the stores that are measured.
func prepare(db *database) (*fixtures, error) {
	if err := db.truncate(); err != nil {
		return nil, err
	}
	fixed := &fixtures{}
	fixed.sequence.Store(1 << 20)
	err := errors.Join(
		inParallel(shardCount, func(i int) error { return createShard(db, int32(i+1)) }),
		addAll(&fixed.runs, runCount, func(i int) (*run, error) { return fixed.createRun(db, i) }),
		addAll(&fixed.branches, branchCount, func(i int) (*branch, error) { return createBranch(db, i) }),
		addAll(&fixed.written, queueCount, func(i int) (*queue, error) { return createQueue(db, "written", i, 0) }),
		addAll(&fixed.read, queueCount, func(i int) (*queue, error) { return createQueue(db, "read", i, queueTasks) }),
	)
	if err != nil {
		return nil, err
	}
	// A server that has run for a while has statistics; without them each plan rests on guesses.
	if err := db.admin.Exec("ANALYZE"); err != nil {
		return nil, err
	}
	return fixed, nil
}

func createShard(db *database, shard int32) error {
	_, err := db.shards.GetOrCreateShard(context.Background(), &persistence.InternalGetOrCreateShardRequest{
		ShardID: shard,
		CreateShardInfo: func() (int64, *commonpb.DataBlob, error) {
			return rangeID, newBlobs(uint64(shard)).take(treeBytes), nil
		},
		LifecycleContext: context.Background(),
	})
	return err
}

func (f *fixtures) createRun(db *database, i int) (*run, error) {
	created, err := newRun(db, shardOf(i), fixedID("workflow", i), fixedID("run", i))
	if err != nil {
		return nil, err
	}
	blobs := newBlobs(uint64(i))
	request := f.creation(created, blobs)
	request.NewWorkflowSnapshot.ActivityInfos = make(map[int64]*commonpb.DataBlob)
	for activity := range int64(activityCount) {
		request.NewWorkflowSnapshot.ActivityInfos[firstActivity+activity] = blobs.take(activityBytes)
	}
	request.NewWorkflowSnapshot.TimerInfos = map[string]*commonpb.DataBlob{"1": blobs.take(timerBytes)}
	_, err = db.executions.CreateWorkflowExecution(context.Background(), request)
	return created, err
}

func createBranch(db *database, i int) (*branch, error) {
	created, err := newBranch(db, shardOf(i), fixedID("tree", i))
	if err != nil {
		return nil, err
	}
	blobs := newBlobs(uint64(i))
	for node := range int64(branchNodes) {
		request := created.append(node+1, node+1, blobs.take(nodeBytes))
		if node == 0 {
			request.IsNewBranch, request.TreeInfo = true, blobs.take(treeBytes)
		}
		if err := db.executions.AppendHistoryNodes(context.Background(), request); err != nil {
			return nil, err
		}
	}
	return created, nil
}

func createQueue(db *database, kind string, i int, tasks int) (*queue, error) {
	created := &queue{name: fmt.Sprintf("%s-%d", kind, i)}
	created.nextID.Store(1)
	blobs := newBlobs(uint64(i))
	err := db.tasks.CreateTaskQueue(context.Background(), &persistence.InternalCreateTaskQueueRequest{
		NamespaceID:   namespace,
		TaskQueue:     created.name,
		TaskType:      enumspb.TASK_QUEUE_TYPE_WORKFLOW,
		RangeID:       rangeID,
		TaskQueueInfo: blobs.take(treeBytes),
		TaskQueueKind: enumspb.TASK_QUEUE_KIND_NORMAL,
	})
	for written := 0; err == nil && written < tasks; written += queueTasks / 10 {
		_, err = db.tasks.CreateTasks(context.Background(), created.tasks(queueTasks/10, blobs))
	}
	return created, err
}

// newRun describes a run that is not stored yet.
func newRun(db *database, shard int32, workflowID, runID string) (*run, error) {
	history, err := newBranch(db, shard, runID)
	if err != nil {
		return nil, err
	}
	state := runState(runID)
	stateBlob, err := db.serializer.WorkflowExecutionStateToBlob(state)
	if err != nil {
		return nil, err
	}
	return &run{
		shard:      shard,
		workflowID: workflowID,
		state:      state,
		stateBlob:  stateBlob,
		branch:     *history,
		version:    1,
		nextNode:   firstNode,
	}, nil
}

// runState is stateBytes long when serialized: the SQL store serializes it itself, so it cannot be random bytes.
func runState(runID string) *persistencespb.WorkflowExecutionState {
	state := &persistencespb.WorkflowExecutionState{
		CreateRequestId: runID,
		RunId:           runID,
		State:           enumsspb.WORKFLOW_EXECUTION_STATE_RUNNING,
		Status:          enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
		StartTime:       timestamppb.New(time.Unix(1_700_000_000, 0)),
		RequestIds: map[string]*persistencespb.RequestIDInfo{
			runID: {EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, EventId: 1},
		},
	}
	// One more request id, as long as is needed.
	attached := &persistencespb.RequestIDInfo{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED, EventId: 2}
	state.RequestIds[""] = attached
	filler := stateBytes - proto.Size(state)
	delete(state.RequestIds, "")
	state.RequestIds[(runID + runID)[:filler]] = attached
	return state
}

func newBranch(db *database, shard int32, treeID string) (*branch, error) {
	info := &persistencespb.HistoryBranch{TreeId: treeID, BranchId: treeID}
	token, err := db.serializer.HistoryBranchToBlob(info)
	if err != nil {
		return nil, err
	}
	return &branch{shard: shard, info: info, token: token.Data}, nil
}

func shardOf(i int) int32 {
	return int32(i%shardCount) + 1
}

// fixedID gives the same UUID in each process, so that rows lie alike in each repetition.
func fixedID(kind string, i int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s-%d", kind, i)).String()
}

// randomBytes is cut into blobs. Making new bytes for each blob would burden the client with work that is not the store's.
var randomBytes = func() []byte {
	filled := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{seed & 0xff, seed >> 8 & 0xff, seed >> 16 & 0xff}).Read(filled)
	return filled
}()

type blobs struct{ random *rand.Rand }

func newBlobs(stream uint64) blobs {
	return blobs{rand.New(rand.NewPCG(seed, stream))}
}

// take returns bytes that no compression shortens.
func (b blobs) take(length int) *commonpb.DataBlob {
	start := b.random.IntN(len(randomBytes) - length)
	return &commonpb.DataBlob{
		EncodingType: enumspb.ENCODING_TYPE_PROTO3,
		Data:         randomBytes[start : start+length : start+length],
	}
}

// addAll makes a number of things at once, and keeps their order.
func addAll[T any](all *[]T, count int, create func(i int) (T, error)) error {
	*all = make([]T, count)
	return inParallel(count, func(i int) (err error) {
		(*all)[i], err = create(i)
		return err
	})
}

func inParallel(count int, work func(i int) error) error {
	failures := make([]error, count)
	limit := make(chan struct{}, 16)
	var running sync.WaitGroup
	for i := range count {
		limit <- struct{}{}
		running.Go(func() {
			failures[i] = work(i)
			<-limit
		})
	}
	running.Wait()
	return errors.Join(failures...)
}
