// Package stores keeps what a Temporal server stores in a cell of Strongroom.
package stores

import (
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence"
	persistenceclient "go.temporal.io/server/common/persistence/client"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/resolver"

	"strongroom/temporal/internal/client"
)

// storeName is what Temporal's metrics and logs call these stores.
const storeName = "strongroom"

// dialTimeout bounds the first connection. `strongroom serve` may still be starting when the Temporal server starts.
const dialTimeout = time.Minute

// AbstractFactory makes the factory of stores from `customDatastore` of Temporal's configuration.
type AbstractFactory struct {
	// HistoryShards is numHistoryShards of Temporal's configuration.
	HistoryShards int32
}

var _ persistenceclient.AbstractDataStoreFactory = AbstractFactory{}

// NewFactory returns the stores of the cell on the socket that `customDatastore.options.socket` names. The process ends if the
// option is missing or the cell refuses the connection, because Temporal's interface has no error here.
func (f AbstractFactory) NewFactory(
	cfg config.CustomDatastoreConfig,
	_ resolver.ServiceResolver,
	clusterName string,
	logger log.Logger,
	metricsHandler metrics.Handler,
	serializer serialization.Serializer,
) persistence.DataStoreFactory {
	socket, _ := cfg.Options["socket"].(string)
	if socket == "" {
		logger.Fatal("customDatastore.options.socket is not set; set it to the socket of 'strongroom serve'")
	}
	dialled, err := client.DialAtStart(dialTimeout, client.Options{
		Socket: socket, HistoryShards: f.HistoryShards, Temporal: headers.ServerVersion, Logger: logger, Metrics: metricsHandler,
	})
	if err != nil {
		logger.Fatal("The cell can't be used.", tag.String("socket", socket), tag.Error(err))
	}
	factory := NewFactory(dialled, clusterName, logger, serializer)
	factory.close = dialled.Close
	return factory
}

// Factory makes stores that call one cell.
type Factory struct {
	doer        Doer
	clusterName string
	logger      log.Logger
	serializer  serialization.Serializer
	close       func()
}

var _ persistence.DataStoreFactory = (*Factory)(nil)

// NewFactory returns a factory of stores that call doer.
func NewFactory(doer Doer, clusterName string, logger log.Logger, serializer serialization.Serializer) *Factory {
	return &Factory{doer: doer, clusterName: clusterName, logger: logger, serializer: serializer, close: func() {}}
}

// Close gives up the connections.
func (f *Factory) Close() { f.close() }

// NewShardStore returns the store of shards.
func (f *Factory) NewShardStore() (persistence.ShardStore, error) {
	return &shardStore{base: f.base(), clusterName: f.clusterName}, nil
}

// NewExecutionStore returns the store of mutable state, history and history tasks.
func (f *Factory) NewExecutionStore() (persistence.ExecutionStore, error) {
	return newExecutionStore(f.base()), nil
}

// NewTaskStore returns the store of task queues whose tasks are ordered by id.
func (f *Factory) NewTaskStore() (persistence.TaskStore, error) {
	return &taskStore{base: f.base(), store: "tasks."}, nil
}

// NewFairTaskStore returns the store of task queues whose tasks are ordered by pass and id.
func (f *Factory) NewFairTaskStore() (persistence.TaskStore, error) {
	return &taskStore{base: f.base(), store: "fair_tasks."}, nil
}

// NewMetadataStore returns the store of namespaces.
func (f *Factory) NewMetadataStore() (persistence.MetadataStore, error) {
	return newMetadataStore(f.base(), f.clusterName), nil
}

// NewClusterMetadataStore returns the store of clusters and hosts.
func (f *Factory) NewClusterMetadataStore() (persistence.ClusterMetadataStore, error) {
	return &clusterMetadataStore{base: f.base()}, nil
}

// NewQueue returns the namespace replication queue. Temporal has no queue of another type.
func (f *Factory) NewQueue(queueType persistence.QueueType) (persistence.Queue, error) {
	if queueType != persistence.NamespaceReplicationQueueType {
		return nil, serviceerror.NewUnimplementedf("queues of type %d are not implemented", queueType)
	}
	return &queue{base: f.base(), queueType: queueType}, nil
}

// NewQueueV2 returns the store of named queues.
func (f *Factory) NewQueueV2() (persistence.QueueV2, error) { return &queueV2{base: f.base()}, nil }

// NewNexusEndpointStore returns the store of Nexus endpoints.
func (f *Factory) NewNexusEndpointStore() (persistence.NexusEndpointStore, error) {
	return &nexusEndpointStore{base: f.base()}, nil
}

func (f *Factory) base() base { return base{Doer: f.doer, logger: f.logger, serializer: f.serializer} }

// base is what all stores share.
type base struct {
	Doer
	logger     log.Logger
	serializer serialization.Serializer
}

// Close does nothing: the factory closes the connections.
func (base) Close() {}

// GetName returns the name in Temporal's metrics and logs.
func (base) GetName() string { return storeName }
