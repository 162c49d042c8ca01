// Package suites runs Temporal's own persistence suites against a cell that `strongroom serve` serves.
//
// STRONGROOM_SOCKET names the socket of a new cell with at least 1,000 shards. Without it everything is skipped.
package suites

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence"
	persistencetests "go.temporal.io/server/common/persistence/persistence-tests"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/resolver"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/stores"
)

const socketVariable = "STRONGROOM_SOCKET"

// factoryFor returns stores of the cell, with what the suites expect of a database without namespaces (namespaces_test.go).
func factoryFor(t *testing.T) *factory {
	t.Helper()
	socket := os.Getenv(socketVariable)
	if socket == "" {
		t.Skip(socketVariable + " is not set")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	logger := log.NewTestLogger()
	dialled, err := client.Dial(ctx, client.Options{Socket: socket, Temporal: "suites", Logger: logger})
	require.NoError(t, err)
	t.Cleanup(dialled.Close)
	doer := &namespaceMaker{Doer: dialled}
	return &factory{stores.NewFactory(doer, "active", logger, serialization.NewSerializer()), doer, doer.existing(t)}
}

// factory is a factory of the cell's stores.
type factory struct {
	*stores.Factory
	doer stores.Doer
	// namespaceID is a namespace that exists.
	namespaceID string
}

// NewExecutionStore returns the store with namespaces that exist.
func (f *factory) NewExecutionStore() (persistence.ExecutionStore, error) {
	store, err := f.Factory.NewExecutionStore()
	return existingNamespace{store, f.namespaceID}, err
}

// NewFactory returns the factory itself, so that Temporal's suites with managers use it.
func (f *factory) NewFactory(
	config.CustomDatastoreConfig, resolver.ServiceResolver, string, log.Logger, metrics.Handler, serialization.Serializer,
) persistence.DataStoreFactory {
	return f
}

// testBase returns what Temporal's suites with managers are built on.
func testBase(t *testing.T) *persistencetests.TestBase {
	t.Helper()
	base := persistencetests.NewTestBaseForCluster(cluster{}, log.NewTestLogger())
	base.AbstractDataStoreFactory = factoryFor(t)
	base.Setup(nil)
	return base
}

// cluster is the database of the suites with managers. The cell is there before and after them.
type cluster struct{}

func (cluster) SetupTestDatabase()    {}
func (cluster) TearDownTestDatabase() {}
func (cluster) Config() config.Persistence {
	return config.Persistence{
		DefaultStore:         "strongroom",
		NumHistoryShards:     4,
		DataStores:           map[string]config.DataStore{"strongroom": {CustomDataStoreConfig: &config.CustomDatastoreConfig{Name: "strongroom"}}},
		TransactionSizeLimit: func() int { return 4 << 20 },
	}
}

// createShard creates a shard with the range id 1.
func (f *factory) createShard(ctx context.Context, t *testing.T, shardID int32) {
	t.Helper()
	_, err := store(t, f.NewShardStore).GetOrCreateShard(ctx, &persistence.InternalGetOrCreateShardRequest{
		ShardID: shardID, CreateShardInfo: func() (int64, *commonpb.DataBlob, error) { return 1, payloadOf("shard"), nil },
	})
	require.NoError(t, err)
}

// payloadOf returns a value of a row.
func payloadOf(text string) *commonpb.DataBlob {
	return &commonpb.DataBlob{Data: []byte(text), EncodingType: enumspb.ENCODING_TYPE_PROTO3}
}

func store[T any](t *testing.T, open func() (T, error)) T {
	t.Helper()
	opened, err := open()
	require.NoError(t, err)
	return opened
}
