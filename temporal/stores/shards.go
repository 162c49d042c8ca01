package stores

import (
	"context"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

type shardStore struct {
	base
	clusterName string
}

func (s *shardStore) GetClusterName() string { return s.clusterName }

func (s *shardStore) GetOrCreateShard(
	ctx context.Context, request *persistence.InternalGetOrCreateShardRequest,
) (*persistence.InternalGetOrCreateShardResponse, error) {
	response, err := s.getShard(ctx, request.ShardID)
	if _, missing := err.(*serviceerror.NotFound); !missing || request.CreateShardInfo == nil { //nolint:errorlint // never wrapped
		return response, err
	}
	rangeID, info, err := request.CreateShardInfo()
	if err != nil {
		return nil, err
	}
	r := newWrite("shards.get_or_create_shard")
	r.shard(request.ShardID)
	shardInfo(r.field("create"), request.ShardID, rangeID, info)
	return s.readShard(ctx, r)
}

func (s *shardStore) getShard(ctx context.Context, shardID int32) (*persistence.InternalGetOrCreateShardResponse, error) {
	r := newRead("shards.get_or_create_shard")
	r.shard(shardID)
	r.field("create").Nil()
	return s.readShard(ctx, r)
}

func (s *shardStore) readShard(ctx context.Context, r *request) (*persistence.InternalGetOrCreateShardResponse, error) {
	response := &persistence.InternalGetOrCreateShardResponse{}
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		reader.Fields(func(name string) {
			if name == "info" {
				response.ShardInfo = reader.Blob()
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s *shardStore) UpdateShard(ctx context.Context, request *persistence.InternalUpdateShardRequest) error {
	r := newWrite("shards.update_shard")
	r.call.Shard = request.ShardID
	shardInfo(r.field("shard"), request.ShardID, request.RangeID, request.ShardInfo)
	r.field("previous_range_id").Int(request.PreviousRangeID)
	return run(ctx, s, r)
}

func (s *shardStore) AssertShardOwnership(ctx context.Context, request *persistence.AssertShardOwnershipRequest) error {
	r := newRead("shards.assert_shard_ownership")
	r.shard(request.ShardID)
	r.field("range_id").Int(request.RangeID)
	return run(ctx, s, r)
}

// shardInfo writes a ShardInfo.
func shardInfo(writer *wire.Writer, shardID int32, rangeID int64, info *blob) {
	fields := writer.Map()
	fields.Field("shard_id").Int(int64(shardID))
	fields.Field("range_id").Int(rangeID)
	fields.Field("info").Blob(info)
	fields.End()
}
