// Package visibility keeps the visibility records of a Temporal server in a cell of Strongroom.
package visibility

import (
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/persistence/visibility"
	"go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/resolver"
	"go.temporal.io/server/common/searchattribute"

	"strongroom/temporal/internal/client"
)

// dialTimeout is the time for the first handshake. Afterwards the client dials again by itself.
const dialTimeout = 30 * time.Second

// Factory makes the visibility store from `customDatastore` of Temporal's configuration.
type Factory struct {
	// HistoryShards is numHistoryShards of Temporal's configuration.
	HistoryShards int32
}

var _ visibility.VisibilityStoreFactory = Factory{}

// NewVisibilityStore returns the visibility store of the cell on the socket that `customDatastore.options.socket` names.
func (f Factory) NewVisibilityStore(
	cfg config.CustomDatastoreConfig,
	provider searchattribute.Provider,
	mappers searchattribute.MapperProvider,
	_ namespace.Registry,
	registry *chasm.Registry,
	_ resolver.ServiceResolver,
	logger log.Logger,
	handler metrics.Handler,
) (store.VisibilityStore, error) {
	socket, _ := cfg.Options["socket"].(string)
	if socket == "" {
		return nil, fmt.Errorf("customDatastore.options.socket is missing in the visibility store %q: "+
			"set it to the socket of strongroom serve", cfg.Name)
	}
	// Temporal registers search attributes under this name in the cluster metadata. The empty name means that there are none.
	if cfg.IndexName == "" {
		return nil, fmt.Errorf("customDatastore.indexName is missing in the visibility store %q: "+
			"set it to any name that no other visibility store of this cluster has, for example strongroom", cfg.Name)
	}
	connection, err := client.DialAtStart(dialTimeout, client.Options{
		Socket: socket, HistoryShards: f.HistoryShards, Temporal: headers.ServerVersion, Logger: logger, Metrics: handler,
	})
	if err != nil {
		return nil, err
	}
	return newStore(connection, cfg.IndexName, connection.HistoryShards(), provider, mappers, registry, logger), nil
}

func newStore(
	connection doer, index string, shards int32, provider searchattribute.Provider, mappers searchattribute.MapperProvider,
	registry *chasm.Registry, logger log.Logger,
) *Store {
	component := func(archetypeID uint32) (*chasm.VisibilitySearchAttributesMapper, error) {
		found, ok := registry.ComponentByID(archetypeID)
		if !ok {
			return nil, serviceerror.NewInvalidArgumentf("unknown archetype ID: %d", archetypeID)
		}
		return found.SearchAttributesMapper(), nil
	}
	return &Store{connection, index, shards, provider, mappers, component, logger}
}
