package stores

import (
	"context"
	"net"

	"github.com/google/uuid"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

type clusterMetadataStore struct{ base }

var _ persistence.ClusterMetadataStore = (*clusterMetadataStore)(nil)

func (s *clusterMetadataStore) ListClusterMetadata(
	ctx context.Context, request *persistence.InternalListClusterMetadataRequest,
) (*persistence.InternalListClusterMetadataResponse, error) {
	r := newRead("cluster_metadata.list_cluster_metadata")
	r.page(request.PageSize, request.NextPageToken)
	response := &persistence.InternalListClusterMetadataResponse{}
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "clusters", collect(&response.ClusterMetadata, reader, readCluster), nil)
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s *clusterMetadataStore) GetClusterMetadata(
	ctx context.Context, request *persistence.InternalGetClusterMetadataRequest,
) (*persistence.InternalGetClusterMetadataResponse, error) {
	r := newRead("cluster_metadata.get_cluster_metadata")
	r.field("cluster_name").Text(request.ClusterName)
	var response *persistence.InternalGetClusterMetadataResponse
	if err := ask(ctx, s, r, func(reader *wire.Reader) { response = readCluster(reader) }); err != nil {
		return nil, err
	}
	return response, nil
}

func (s *clusterMetadataStore) SaveClusterMetadata(
	ctx context.Context, request *persistence.InternalSaveClusterMetadataRequest,
) (bool, error) {
	r := newWrite("cluster_metadata.save_cluster_metadata")
	r.field("cluster_name").Text(request.ClusterName)
	r.field("data").Blob(request.ClusterMetadata)
	r.field("version").Int(request.Version)
	saved := false
	err := ask(ctx, s, r, func(reader *wire.Reader) { saved = reader.Bool() })
	return saved, err
}

func (s *clusterMetadataStore) DeleteClusterMetadata(
	ctx context.Context, request *persistence.InternalDeleteClusterMetadataRequest,
) error {
	r := newWrite("cluster_metadata.delete_cluster_metadata")
	r.field("cluster_name").Text(request.ClusterName)
	return run(ctx, s, r)
}

func (s *clusterMetadataStore) GetClusterMembers(
	ctx context.Context, request *persistence.GetClusterMembersRequest,
) (*persistence.GetClusterMembersResponse, error) {
	r := newRead("cluster_metadata.get_cluster_members")
	r.memberFilters(request)
	response := &persistence.GetClusterMembersResponse{}
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "members", collect(&response.ActiveMembers, reader, readMember), nil)
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s *clusterMetadataStore) UpsertClusterMembership(
	ctx context.Context, request *persistence.UpsertClusterMembershipRequest,
) error {
	r := newWrite("cluster_metadata.upsert_cluster_membership")
	r.hostID(request.HostID)
	r.field("role").Int(int64(request.Role))
	r.field("rpc_address").Text(request.RPCAddress.String())
	r.field("rpc_port").Int(int64(request.RPCPort))
	r.field("session_start").Time(request.SessionStart)
	r.field("record_expiry").Duration(request.RecordExpiry)
	return run(ctx, s, r)
}

func (s *clusterMetadataStore) PruneClusterMembership(
	ctx context.Context, request *persistence.PruneClusterMembershipRequest,
) error {
	r := newWrite("cluster_metadata.prune_cluster_membership")
	if request.MaxRecordsPruned > 0 {
		r.field("max_records").Int(int64(request.MaxRecordsPruned))
	}
	return run(ctx, s, r)
}

// memberFilters adds the filters that are set. A page size of 0 means all hosts.
func (r *request) memberFilters(request *persistence.GetClusterMembersRequest) {
	if request.HostIDEquals != nil {
		r.hostID(request.HostIDEquals)
	}
	if request.RoleEquals != persistence.All {
		r.field("role").Int(int64(request.RoleEquals))
	}
	if request.RPCAddressEquals != nil {
		r.field("rpc_address").Text(request.RPCAddressEquals.String())
	}
	if request.LastHeartbeatWithin > 0 {
		r.field("last_heartbeat_within").Duration(request.LastHeartbeatWithin)
	}
	if !request.SessionStartedAfter.IsZero() {
		r.field("session_started_after").Time(request.SessionStartedAfter)
	}
	if request.PageSize > 0 {
		r.field("page_size").Int(int64(request.PageSize))
	}
	r.pageToken(request.NextPageToken)
}

func (r *request) hostID(raw []byte) {
	id, err := uuid.FromBytes(raw)
	if err != nil {
		r.refuse("host_id is not a UUID")
	}
	r.field("host_id").Bytes16(id)
}

func readCluster(reader *wire.Reader) *persistence.InternalGetClusterMetadataResponse {
	cluster := &persistence.InternalGetClusterMetadataResponse{}
	reader.Fields(func(name string) {
		switch name {
		case "version":
			cluster.Version = reader.Int()
		case "data":
			cluster.ClusterMetadata = reader.Blob()
		}
	})
	return cluster
}

func readMember(reader *wire.Reader) *persistence.ClusterMember {
	member := &persistence.ClusterMember{}
	reader.Fields(func(name string) {
		switch name {
		case "host_id":
			member.HostID = reader.Raw()
		case "role":
			member.Role = persistence.ServiceType(reader.Int())
		case "rpc_address":
			member.RPCAddress = net.ParseIP(reader.Text())
		case "rpc_port":
			member.RPCPort = uint16(reader.Int32()) // #nosec G115 - the cell keeps ports below 65,536
		case "session_start":
			member.SessionStart = reader.Time()
		case "last_heartbeat":
			member.LastHeartbeat = reader.Time()
		case "record_expiry":
			member.RecordExpiry = reader.Time()
		}
	})
	return member
}
