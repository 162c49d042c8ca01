package visibility

import (
	"bytes"
	"context"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/api/visibilityservice/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/persistence/visibility/manager"
	persistencestore "go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/searchattribute"
	"go.temporal.io/server/common/searchattribute/sadefs"
)

// GetWorkflowExecution returns the record of a run. Without a workflow id, the run is searched for.
func (s *Store) GetWorkflowExecution(
	ctx context.Context, request *manager.GetWorkflowExecutionRequest,
) (*persistencestore.InternalGetWorkflowExecutionResponse, error) {
	if request.WorkflowID == "" {
		return s.find(ctx, request)
	}
	known, err := s.known()
	if err != nil {
		return nil, err
	}
	place, err := s.place(request.NamespaceID.String(), request.WorkflowID, request.RunID)
	if err != nil {
		return nil, err
	}
	answer, err := s.call(ctx, "get_workflow_execution", place.shard, false, runArguments(place, nil))
	if err != nil {
		return nil, err
	}
	stored, err := readOne(answer)
	if err != nil {
		return nil, err
	}
	execution, err := stored.info(known)
	if err != nil {
		return nil, err
	}
	return &persistencestore.InternalGetWorkflowExecutionResponse{Execution: execution}, nil
}

// ListWorkflowExecutions returns a page of the workflows that match a filter.
func (s *Store) ListWorkflowExecutions(
	ctx context.Context, request *manager.ListWorkflowExecutionsRequestV2,
) (*persistencestore.InternalListExecutionsResponse, error) {
	asked := question{namespaceID: request.NamespaceID.String(), namespace: request.Namespace, filter: request.Query}
	return s.list(ctx, asked, request.PageSize, request.NextPageToken)
}

// ListChasmExecutions returns a page of the executions of an archetype that match a filter.
func (s *Store) ListChasmExecutions(
	ctx context.Context, request *visibilityservice.ListChasmExecutionsRequest,
) (*persistencestore.InternalListExecutionsResponse, error) {
	component, err := s.component(request.ArchetypeId)
	if err != nil {
		return nil, err
	}
	asked := question{
		request.NamespaceId, namespace.Name(request.Namespace), request.Query, request.ArchetypeId, component,
	}
	return s.list(ctx, asked, int(request.PageSize), request.NextPageToken)
}

// CountWorkflowExecutions returns the number of workflows that match a filter, with GROUP BY for each value.
func (s *Store) CountWorkflowExecutions(
	ctx context.Context, request *manager.CountWorkflowExecutionsRequest,
) (*persistencestore.InternalCountExecutionsResponse, error) {
	return s.count(ctx, question{
		namespaceID: request.NamespaceID.String(), namespace: request.Namespace, filter: request.Query,
	})
}

// CountChasmExecutions returns the number of executions of an archetype that match a filter, with GROUP BY for each value.
func (s *Store) CountChasmExecutions(
	ctx context.Context, request *visibilityservice.CountChasmExecutionsRequest,
) (*persistencestore.InternalCountExecutionsResponse, error) {
	component, err := s.component(request.ArchetypeId)
	if err != nil {
		return nil, err
	}
	return s.count(ctx, question{
		request.NamespaceId, namespace.Name(request.Namespace), request.Query, request.ArchetypeId, component,
	})
}

// endOfList is the page token of a last page that is full. Temporal's own stores give a token whenever a page is full. The cell gives
// none if nothing follows, so the empty page after it needs no call.
var endOfList = []byte("end")

// question is what a list or a count asks for.
type question struct {
	namespaceID string
	namespace   namespace.Name
	filter      string
	archetypeID uint32
	component   *chasm.VisibilitySearchAttributesMapper
}

func (s *Store) list(
	ctx context.Context, asked question, pageSize int, pageToken []byte,
) (*persistencestore.InternalListExecutionsResponse, error) {
	search, known, err := s.search(asked)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(pageToken, endOfList) {
		return &persistencestore.InternalListExecutionsResponse{}, nil
	}
	answer, err := s.call(ctx, "list_workflow_executions", 0, false, search.listArguments(pageSize, pageToken))
	if err != nil {
		return nil, err
	}
	records, token, err := readPage(answer)
	if err != nil {
		return nil, err
	}
	if len(token) == 0 && len(records) > 0 && len(records) == pageSize {
		token = endOfList
	}
	response := &persistencestore.InternalListExecutionsResponse{NextPageToken: token}
	all := persistencestore.CombineTypeMaps(known, asked.component)
	for _, stored := range records {
		execution, err := stored.info(all)
		if err != nil {
			return nil, err
		}
		response.Executions = append(response.Executions, execution)
	}
	return response, nil
}

func (s *Store) count(ctx context.Context, asked question) (*persistencestore.InternalCountExecutionsResponse, error) {
	search, _, err := s.search(asked)
	if err != nil {
		return nil, err
	}
	answer, err := s.call(ctx, "count_workflow_executions", 0, false, search.countArguments())
	if err != nil {
		return nil, err
	}
	count, groups, err := readCount(answer)
	if err != nil {
		return nil, err
	}
	response := &persistencestore.InternalCountExecutionsResponse{Count: count}
	for _, each := range groups {
		// GROUP BY takes Keywords only.
		value, err := sadefs.EncodeValue(each.value, enumspb.INDEXED_VALUE_TYPE_KEYWORD)
		if err != nil {
			return nil, err
		}
		response.Groups = append(response.Groups, persistencestore.InternalAggregationGroup{
			GroupValues: []*commonpb.Payload{value}, Count: each.count,
		})
	}
	return response, nil
}

// search returns a question as the cell takes it, and the search attributes of the index.
func (s *Store) search(asked question) (search, searchattribute.NameTypeMap, error) {
	known, err := s.known()
	if err != nil {
		return search{}, known, err
	}
	namespaceID, err := parseNamespaceID(asked.namespaceID)
	if err != nil {
		return search{}, known, err
	}
	mapper, err := s.mappers.GetMapper(asked.namespace)
	if err != nil {
		return search{}, known, err
	}
	fields := fieldsOf(asked.filter, asked.namespace, mapper, known, asked.component)
	return search{namespaceID, asked.filter, fields, asked.archetypeID}, known, nil
}

// find returns the record of a run whose workflow id is not known.
func (s *Store) find(
	ctx context.Context, request *manager.GetWorkflowExecutionRequest,
) (*persistencestore.InternalGetWorkflowExecutionResponse, error) {
	notFound := serviceerror.NewNotFoundf("workflow execution with RunId %s not found", request.RunID)
	if uuid.Validate(request.RunID) != nil {
		return nil, notFound
	}
	asked := question{
		namespaceID: request.NamespaceID.String(),
		namespace:   request.Namespace,
		filter:      sadefs.QueryWithAnyNamespaceDivision(sadefs.RunID + " = '" + request.RunID + "'"),
	}
	found, err := s.list(ctx, asked, 1, nil)
	if err != nil {
		return nil, err
	}
	if len(found.Executions) == 0 {
		return nil, notFound
	}
	return &persistencestore.InternalGetWorkflowExecutionResponse{Execution: found.Executions[0]}, nil
}
