package stores

import (
	"context"

	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

type nexusEndpointStore struct{ base }

var _ persistence.NexusEndpointStore = (*nexusEndpointStore)(nil)

func (s *nexusEndpointStore) CreateOrUpdateNexusEndpoint(
	ctx context.Context, request *persistence.InternalCreateOrUpdateNexusEndpointRequest,
) error {
	r := newWrite("nexus_endpoints.create_or_update_nexus_endpoint")
	fields := r.field("endpoint").Map()
	r.id(fields.Field("endpoint_id"), "endpoint_id", request.Endpoint.ID)
	fields.Field("version").Int(request.Endpoint.Version)
	fields.Field("data").Blob(request.Endpoint.Data)
	fields.End()
	r.field("last_known_table_version").Int(request.LastKnownTableVersion)
	return run(ctx, s, r)
}

func (s *nexusEndpointStore) DeleteNexusEndpoint(ctx context.Context, request *persistence.DeleteNexusEndpointRequest) error {
	r := newWrite("nexus_endpoints.delete_nexus_endpoint")
	r.uuid("endpoint_id", request.ID)
	r.field("last_known_table_version").Int(request.LastKnownTableVersion)
	return run(ctx, s, r)
}

func (s *nexusEndpointStore) GetNexusEndpoint(
	ctx context.Context, request *persistence.GetNexusEndpointRequest,
) (*persistence.InternalNexusEndpoint, error) {
	r := newRead("nexus_endpoints.get_nexus_endpoint")
	r.uuid("endpoint_id", request.ID)
	var endpoint persistence.InternalNexusEndpoint
	if err := ask(ctx, s, r, func(reader *wire.Reader) { endpoint = readEndpoint(reader) }); err != nil {
		return nil, err
	}
	return &endpoint, nil
}

func (s *nexusEndpointStore) ListNexusEndpoints(
	ctx context.Context, request *persistence.ListNexusEndpointsRequest,
) (*persistence.InternalListNexusEndpointsResponse, error) {
	r := newRead("nexus_endpoints.list_nexus_endpoints")
	r.page(request.PageSize, request.NextPageToken)
	r.field("last_known_table_version").Int(request.LastKnownTableVersion)
	response := &persistence.InternalListNexusEndpointsResponse{}
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		reader.Fields(func(name string) {
			switch name {
			case "table_version":
				response.TableVersion = reader.Int()
			case "endpoints":
				reader.Elements(collect(&response.Endpoints, reader, readEndpoint))
			case "next_page_token":
				response.NextPageToken = reader.Raw()
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func readEndpoint(reader *wire.Reader) persistence.InternalNexusEndpoint {
	var endpoint persistence.InternalNexusEndpoint
	reader.Fields(func(name string) {
		switch name {
		case "endpoint_id":
			endpoint.ID = reader.UUID()
		case "version":
			endpoint.Version = reader.Int()
		case "data":
			endpoint.Data = reader.Blob()
		}
	})
	return endpoint
}
