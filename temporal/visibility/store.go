package visibility

import (
	"context"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/persistence/visibility/manager"
	persistencestore "go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/searchattribute"

	"strongroom/temporal/internal/client"
)

// StoreName is the name of the store in Temporal's logs, metrics and DescribeCluster.
//
// Temporal compares it with the name of its Elasticsearch store only. For all other stores, custom search attributes are aliases of
// preallocated fields such as Keyword01, in the configuration of each namespace.
const StoreName = "strongroom"

// doer is the part of the client that the store uses.
type doer interface {
	Do(ctx context.Context, call client.Call) ([]byte, error)
	Close()
}

// Store is the visibility store of a Temporal server.
type Store struct {
	client    doer
	index     string
	shards    int32
	provider  searchattribute.Provider
	mappers   searchattribute.MapperProvider
	component func(archetypeID uint32) (*chasm.VisibilitySearchAttributesMapper, error)
	logger    log.Logger
}

var _ persistencestore.VisibilityStore = (*Store)(nil)

// Close gives the connection up.
func (s *Store) Close() { s.client.Close() }

// GetName returns StoreName.
func (s *Store) GetName() string { return StoreName }

// GetIndexName returns the name that the cluster metadata has the search attributes under.
func (s *Store) GetIndexName() string { return s.index }

// ValidateCustomSearchAttributes returns the search attributes that can be stored. The error names all others.
func (s *Store) ValidateCustomSearchAttributes(values map[string]any) (map[string]any, error) {
	known, err := s.known()
	if err != nil {
		return nil, err
	}
	return validateAttributes(values, known)
}

// AddSearchAttributes does nothing, because the cell has no columns. Each call names the search attributes that it needs.
func (s *Store) AddSearchAttributes(context.Context, *manager.AddSearchAttributesRequest) error {
	return nil
}

func (s *Store) call(ctx context.Context, method string, shard int32, write bool, arguments []byte) ([]byte, error) {
	call := client.Call{Operation: "visibility." + method, Shard: shard, Write: write, Arguments: arguments}
	answer, err := s.client.Do(ctx, call)
	if err != nil {
		return nil, convert(call, err)
	}
	return answer, nil
}

// known returns the search attributes of the index.
func (s *Store) known() (searchattribute.NameTypeMap, error) {
	known, err := s.provider.GetSearchAttributes(s.index, false)
	if err != nil {
		return known, serviceerror.NewUnavailablef("unable to read search attribute types: %v", err)
	}
	return known, nil
}

func (s *Store) place(namespaceID, workflowID, runID string) (run, error) {
	parsed, err := parseNamespaceID(namespaceID)
	if err != nil {
		return run{}, err
	}
	return run{parsed, common.WorkflowIDToHistoryShard(namespaceID, workflowID, s.shards), workflowID, runID}, nil
}

func parseNamespaceID(namespaceID string) (uuid.UUID, error) {
	parsed, err := uuid.Parse(namespaceID)
	if err != nil {
		return uuid.UUID{}, serviceerror.NewInvalidArgument("the namespace id is not a UUID")
	}
	return parsed, nil
}
