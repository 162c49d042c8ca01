package suites

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
	commonpb "go.temporal.io/api/common/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
	"strongroom/temporal/stores"
)

// namespaceMaker creates the namespaces of a call, if they don't exist. The suites write for random namespaces that nobody created.
// A cell has no keys for those, and refuses them.
type namespaceMaker struct {
	stores.Doer
	lock sync.Mutex
	made map[uuid.UUID]bool
}

// Do calls the cell, once more after it created the namespaces.
func (m *namespaceMaker) Do(ctx context.Context, call client.Call) ([]byte, error) {
	answer, err := m.Doer.Do(ctx, call)
	var failure *client.Error
	if !errors.As(err, &failure) || !failure.IsKind("NamespaceNotFound") || strings.HasPrefix(call.Operation, "metadata.") {
		return answer, err
	}
	made, problem := m.make(ctx, call.Arguments)
	if problem != nil {
		return nil, problem
	}
	if !made {
		return answer, err
	}
	return m.Doer.Do(ctx, call)
}

// make creates the namespaces that arguments name, and returns whether it created one.
func (m *namespaceMaker) make(ctx context.Context, arguments []byte) (bool, error) {
	found, _, err := namespacesIn("", arguments)
	if err != nil {
		return false, err
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	created := false
	for _, id := range found {
		if m.made[id] {
			continue
		}
		if err := m.create(ctx, id); err != nil {
			return false, err
		}
		created = true
	}
	return created, nil
}

// create makes a namespace without Temporal's settings, so that Temporal does not list it.
func (m *namespaceMaker) create(ctx context.Context, id uuid.UUID) error {
	var w wire.Writer
	arguments := w.Map()
	arguments.Field("namespace_id").Bytes16(id)
	arguments.Field("name").Text("namespace of the suites " + id.String())
	arguments.Field("data").Blob(&commonpb.DataBlob{})
	arguments.End()
	_, err := m.Doer.Do(ctx, client.Call{Operation: "metadata.create_namespace", Write: true, Arguments: w.Bytes()})
	if m.made == nil {
		m.made = map[uuid.UUID]bool{}
	}
	m.made[id] = true
	return err
}

// existing creates a namespace and returns its id.
func (m *namespaceMaker) existing(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id := uuid.New()
	require.NoError(t, m.create(ctx, id))
	return id.String()
}

// namespacesIn returns the namespace ids in an encoded value, and the bytes after it: fields namespace_id, and the first elements of
// task queue keys. name is the name of the field that has the value.
func namespacesIn(name string, encoded []byte) (found []uuid.UUID, rest []byte, err error) {
	each := func(name string) {
		var more []uuid.UUID
		if err == nil {
			more, rest, err = namespacesIn(name, rest)
			found = append(found, more...)
		}
	}
	var size uint32
	switch msgp.NextType(encoded) {
	case msgp.MapType:
		size, rest, err = msgp.ReadMapHeaderBytes(encoded)
		for ; size > 0 && err == nil; size-- {
			key := ""
			if msgp.NextType(rest) == msgp.StrType {
				key, rest, err = msgp.ReadStringBytes(rest)
			} else {
				rest, err = msgp.Skip(rest)
			}
			each(key)
		}
	case msgp.ArrayType:
		size, rest, err = msgp.ReadArrayHeaderBytes(encoded)
		for index := range size {
			if index == 0 && name == "queue" {
				each("namespace_id")
			} else {
				each("")
			}
		}
	case msgp.BinType:
		var raw []byte
		raw, rest, err = msgp.ReadBytesZC(encoded)
		if id, invalid := uuid.FromBytes(raw); name == "namespace_id" && invalid == nil {
			found = append(found, id)
		}
	default:
		rest, err = msgp.Skip(encoded)
	}
	return found, rest, err
}

// existingNamespace is an execution store whose branch tokens, and replication tasks without a namespace, name one that exists. The
// suites make a token for another random namespace at each branch, by the thousand.
type existingNamespace struct {
	persistence.ExecutionStore
	namespaceID string
}

func (s existingNamespace) GetHistoryBranchUtil() persistence.HistoryBranchUtil {
	return existingNamespaceUtil{s.ExecutionStore.GetHistoryBranchUtil(), s.namespaceID}
}

func (s existingNamespace) PutReplicationTaskToDLQ(
	ctx context.Context, request *persistence.PutReplicationTaskToDLQRequest,
) error {
	if request.TaskInfo.NamespaceId == "" {
		request.TaskInfo.NamespaceId = s.namespaceID
	}
	return s.ExecutionStore.PutReplicationTaskToDLQ(ctx, request)
}

type existingNamespaceUtil struct {
	persistence.HistoryBranchUtil
	namespaceID string
}

func (u existingNamespaceUtil) NewHistoryBranch(
	_, workflowID, runID, treeID string,
	branchID *string,
	ancestors []*persistencespb.HistoryBranchRange,
	runTimeout, executionTimeout, retention time.Duration,
) ([]byte, error) {
	return u.HistoryBranchUtil.NewHistoryBranch(
		u.namespaceID, workflowID, runID, treeID, branchID, ancestors, runTimeout, executionTimeout, retention)
}
