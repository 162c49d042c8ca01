package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/stretchr/testify/suite"
	"go.temporal.io/server/chasm"
	chasmtests "go.temporal.io/server/chasm/lib/tests"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/namespace"
	persistencetests "go.temporal.io/server/common/persistence/persistence-tests"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/persistence/tests"
	temporalvisibility "go.temporal.io/server/common/persistence/visibility"
	"go.temporal.io/server/common/persistence/visibility/manager"
	"go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/resolver"
	"go.temporal.io/server/common/searchattribute"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
	"strongroom/temporal/visibility"
)

// These tests need a cell: STRONGROOM_SOCKET is the socket of `strongroom serve`, STRONGROOM_SHARDS its number of shards, and
// STRONGROOM_KEK wraps the keys of its new namespaces. tests/integration/temporal/test_visibility.py runs them on both search indexes.

func cellConfig(t *testing.T) (config.Persistence, int32) {
	t.Helper()
	socket := os.Getenv("STRONGROOM_SOCKET")
	if socket == "" {
		t.Skip("STRONGROOM_SOCKET is not set")
	}
	shards, err := strconv.ParseInt(os.Getenv("STRONGROOM_SHARDS"), 10, 32)
	require.NoError(t, err, "STRONGROOM_SHARDS")
	return config.Persistence{
		VisibilityStore: "strongroom",
		DataStores: map[string]config.DataStore{"strongroom": {CustomDataStoreConfig: &config.CustomDatastoreConfig{
			Name: "strongroom", IndexName: "strongroom", Options: map[string]any{"socket": socket},
		}}},
	}, int32(shards)
}

// managerOf returns Temporal's visibility manager over a store.
func managerOf(
	t *testing.T, persistence config.Persistence, factory temporalvisibility.VisibilityStoreFactory, registry *chasm.Registry,
	mapper searchattribute.Mapper,
) manager.VisibilityManager {
	t.Helper()
	manager, err := temporalvisibility.NewManager(
		persistence,
		resolver.NewNoopResolver(),
		factory,
		nil,
		searchattribute.NewTestProvider(),
		searchattribute.NewTestMapperProvider(mapper),
		nil,
		registry,
		dynamicconfig.GetIntPropertyFn(100_000),
		dynamicconfig.GetIntPropertyFn(100_000),
		dynamicconfig.GetFloatPropertyFn(0.2),
		dynamicconfig.GetDurationPropertyFn(time.Minute),
		dynamicconfig.GetBoolPropertyFnFilteredByNamespace(false),
		dynamicconfig.GetBoolPropertyFn(false),
		dynamicconfig.GetStringPropertyFn(temporalvisibility.SecondaryVisibilityWritingModeOff),
		dynamicconfig.GetBoolPropertyFnFilteredByNamespace(false),
		dynamicconfig.GetBoolPropertyFnFilteredByNamespace(true),
		dynamicconfig.GetBoolPropertyFn(true),
		metrics.NoopMetricsHandler,
		log.NewNoopLogger(),
		serialization.NewSerializer(),
	)
	require.NoError(t, err)
	t.Cleanup(manager.Close)
	return manager
}

func openManager(t *testing.T, mapper searchattribute.Mapper) manager.VisibilityManager {
	t.Helper()
	persistence, shards := cellConfig(t)
	registry := chasm.NewRegistry(log.NewNoopLogger())
	require.NoError(t, registry.Register(chasmtests.Library))
	return managerOf(t, persistence, &settledFactory{shards: shards}, registry, mapper)
}

// settledFactory makes stores for tests. They create the namespaces that they meet, and a write returns when the search index has it.
type settledFactory struct{ shards int32 }

func (f *settledFactory) NewVisibilityStore(
	cfg config.CustomDatastoreConfig, provider searchattribute.Provider, mappers searchattribute.MapperProvider,
	registry namespace.Registry, components *chasm.Registry, services resolver.ServiceResolver, logger log.Logger, handler metrics.Handler,
) (store.VisibilityStore, error) {
	factory := visibility.Factory{HistoryShards: f.shards}
	own, err := factory.NewVisibilityStore(cfg, provider, mappers, registry, components, services, logger, handler)
	if err != nil {
		return nil, err
	}
	socket, _ := cfg.Options["socket"].(string)
	calls, err := client.Dial(context.Background(), client.Options{Socket: socket, HistoryShards: f.shards, Logger: logger})
	if err != nil {
		return nil, err
	}
	return &settledStore{VisibilityStore: own, calls: calls, created: map[string]bool{}}, nil
}

type settledStore struct {
	store.VisibilityStore
	calls   *client.Client
	mutex   sync.Mutex
	created map[string]bool
}

func (s *settledStore) Close() {
	s.VisibilityStore.Close()
	s.calls.Close()
}

// namespace creates a namespace unless this store did. Temporal's suite also writes without a namespace.
func (s *settledStore) namespace(ctx context.Context, id string) (string, error) {
	if id == "" {
		id = "6f1fbc0e-1f2e-4a4e-8f8e-1d5f7b6a9c01"
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.created[id] {
		return id, nil
	}
	var w wire.Writer
	arguments := w.Map()
	arguments.Field("namespace_id").Bytes16(uuid.MustParse(id))
	arguments.Field("name").Text("visibility " + id)
	arguments.Field("data").Blob(nil)
	arguments.Field("kek").Text(os.Getenv("STRONGROOM_KEK"))
	arguments.End()
	_, err := s.calls.Do(ctx, client.Call{Operation: "metadata.create_namespace", Write: true, Arguments: w.Bytes()})
	var refusal *client.Error
	if errors.As(err, &refusal) && refusal.IsKind("NamespaceAlreadyExists") {
		err = nil
	}
	s.created[id] = err == nil
	return id, err
}

// settle waits until as many records of a run as wanted match a condition.
func (s *settledStore) settle(ctx context.Context, namespaceID, runID, condition string, want int64) error {
	query := fmt.Sprintf("(TemporalNamespaceDivision IS NULL OR TemporalNamespaceDivision IS NOT NULL) AND RunId = '%s'%s", runID, condition)
	for {
		counted, err := s.CountWorkflowExecutions(ctx, &manager.CountWorkflowExecutionsRequest{
			NamespaceID: namespace.ID(namespaceID), Query: query,
		})
		if err != nil {
			return err
		}
		if counted.Count == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the search index does not have the write: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *settledStore) written(ctx context.Context, base *store.InternalVisibilityRequestBase, write func() error) error {
	id, err := s.namespace(ctx, base.NamespaceID)
	if err != nil {
		return err
	}
	base.NamespaceID = id
	if err := write(); err != nil || base.RunID == "" {
		return err
	}
	return s.settle(ctx, id, base.RunID, fmt.Sprintf(" AND ExecutionStatus = '%s'", base.Status), 1)
}

func (s *settledStore) RecordWorkflowExecutionStarted(
	ctx context.Context, request *store.InternalRecordWorkflowExecutionStartedRequest,
) error {
	return s.written(ctx, request.InternalVisibilityRequestBase, func() error {
		return s.VisibilityStore.RecordWorkflowExecutionStarted(ctx, request)
	})
}

func (s *settledStore) RecordWorkflowExecutionClosed(
	ctx context.Context, request *store.InternalRecordWorkflowExecutionClosedRequest,
) error {
	return s.written(ctx, request.InternalVisibilityRequestBase, func() error {
		return s.VisibilityStore.RecordWorkflowExecutionClosed(ctx, request)
	})
}

func (s *settledStore) UpsertWorkflowExecution(
	ctx context.Context, request *store.InternalUpsertWorkflowExecutionRequest,
) error {
	return s.written(ctx, request.InternalVisibilityRequestBase, func() error {
		return s.VisibilityStore.UpsertWorkflowExecution(ctx, request)
	})
}

func (s *settledStore) DeleteWorkflowExecution(ctx context.Context, request *manager.VisibilityDeleteWorkflowExecutionRequest) error {
	if err := s.VisibilityStore.DeleteWorkflowExecution(ctx, request); err != nil {
		return err
	}
	return s.settle(ctx, request.NamespaceID.String(), request.RunID, "", 0)
}

// cellCluster is what Temporal's suite needs of a database.
type cellCluster struct{ persistence config.Persistence }

func (cellCluster) SetupTestDatabase()    {}
func (cellCluster) TearDownTestDatabase() {}

func (c cellCluster) Config() config.Persistence { return c.persistence }

// Temporal's own suite of visibility stores passes over the bridge.
func TestCellTemporalsSuite(t *testing.T) {
	persistence, shards := cellConfig(t)
	suite.Run(t, &tests.VisibilityPersistenceSuite{
		TestBase: &persistencetests.TestBase{
			DefaultTestCluster: cellCluster{persistence}, Logger: log.NewNoopLogger(),
		},
		CustomVisibilityStoreFactory: &settledFactory{shards: shards},
	})
}
