// Package visibility keeps the visibility records of a Temporal server in a cell of Strongroom.
package visibility

import (
	"errors"

	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/persistence/visibility"
	"go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/resolver"
	"go.temporal.io/server/common/searchattribute"
)

// Factory makes the visibility store from `customDatastore` of Temporal's configuration.
type Factory struct {
	// HistoryShards is numHistoryShards of Temporal's configuration.
	HistoryShards int32
}

var _ visibility.VisibilityStoreFactory = Factory{}

// NewVisibilityStore returns the visibility store of the cell on the socket that `customDatastore.options.socket` names.
func (Factory) NewVisibilityStore(
	config.CustomDatastoreConfig, searchattribute.Provider, searchattribute.MapperProvider, namespace.Registry, *chasm.Registry,
	resolver.ServiceResolver, log.Logger, metrics.Handler,
) (store.VisibilityStore, error) {
	return nil, errors.New("not implemented")
}
