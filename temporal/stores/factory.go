// Package stores keeps what a Temporal server stores in a cell of Strongroom.
package stores

import (
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/client"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/resolver"
)

// AbstractFactory makes the factory of stores from `customDatastore` of Temporal's configuration.
type AbstractFactory struct {
	// HistoryShards is numHistoryShards of Temporal's configuration.
	HistoryShards int32
}

var _ client.AbstractDataStoreFactory = AbstractFactory{}

// NewFactory returns the stores of the cell on the socket that `customDatastore.options.socket` names.
func (AbstractFactory) NewFactory(
	config.CustomDatastoreConfig, resolver.ServiceResolver, string, log.Logger, metrics.Handler, serialization.Serializer,
) persistence.DataStoreFactory {
	panic("not implemented")
}
