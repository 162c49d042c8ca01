package suites

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/suite"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/persistence"
	persistencetests "go.temporal.io/server/common/persistence/persistence-tests"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/persistence/sql"
	"go.temporal.io/server/common/persistence/tests"
)

// All suites use one cell. They number their shards from 1 up, so each gets numbers of its own here.
//
// Go runs the tests that are not parallel first, in their order: HistoryV2 expects that there is no history tree, MetadataV2 that
// nobody else creates a namespace, and those of named queues that there is no queue.

func TestHistoryV2(t *testing.T) {
	suite.Run(t, &persistencetests.HistoryV2PersistenceSuite{TestBase: testBase(t)})
}

func TestHistoryEvents(t *testing.T) {
	t.Parallel()
	s := tests.NewHistoryEventsSuite(t, store(t, factoryFor(t).NewExecutionStore), log.NewTestLogger())
	s.ShardID = 100
	suite.Run(t, s)
}

func TestShard(t *testing.T) {
	t.Parallel()
	s := tests.NewShardSuite(t, store(t, factoryFor(t).NewShardStore), serialization.NewSerializer(), log.NewTestLogger())
	s.ShardID = 200
	suite.Run(t, s)
}

func TestExecutionMutableState(t *testing.T) {
	t.Parallel()
	f := factoryFor(t)
	s := tests.NewExecutionMutableStateSuite(
		t, store(t, f.NewShardStore), store(t, f.NewExecutionStore), serialization.NewSerializer(), log.NewTestLogger())
	s.ShardID = 300
	suite.Run(t, s)
}

func TestExecutionMutableStateTask(t *testing.T) {
	t.Parallel()
	f := factoryFor(t)
	s := tests.NewExecutionMutableStateTaskSuite(
		t, store(t, f.NewShardStore), store(t, f.NewExecutionStore), serialization.NewSerializer(), log.NewTestLogger())
	s.ShardID = 500
	suite.Run(t, s)
}

func TestTaskQueue(t *testing.T) {
	t.Parallel()
	suite.Run(t, tests.NewTaskQueueSuite(t, store(t, factoryFor(t).NewTaskStore), log.NewTestLogger()))
}

func TestFairTaskQueue(t *testing.T) {
	t.Parallel()
	suite.Run(t, tests.NewTaskQueueSuite(t, store(t, factoryFor(t).NewFairTaskStore), log.NewTestLogger()))
}

func TestTaskQueueTask(t *testing.T) {
	t.Parallel()
	suite.Run(t, tests.NewTaskQueueTaskSuite(t, store(t, factoryFor(t).NewTaskStore), log.NewTestLogger()))
}

func TestTaskQueueFairTask(t *testing.T) {
	t.Parallel()
	suite.Run(t, tests.NewTaskQueueFairTaskSuite(t, store(t, factoryFor(t).NewFairTaskStore), log.NewTestLogger()))
}

func TestTaskQueueUserData(t *testing.T) {
	t.Parallel()
	suite.Run(t, tests.NewTaskQueueUserDataSuite(t, store(t, factoryFor(t).NewTaskStore), log.NewTestLogger()))
}

func TestQueueV2(t *testing.T) {
	tests.RunQueueV2TestSuite(t, store(t, factoryFor(t).NewQueueV2))
}

func TestHistoryTaskQueueManager(t *testing.T) {
	tests.RunHistoryTaskQueueManagerTestSuite(t, store(t, factoryFor(t).NewQueueV2))
}

// TestNexusEndpoints is also all of RunNexusEndpointTestSuiteForSQL, which only takes another factory.
func TestNexusEndpoints(t *testing.T) {
	t.Parallel()
	tests.RunNexusEndpointTestSuite(t, store(t, factoryFor(t).NewNexusEndpointStore), &atomic.Int64{})
}

func TestMetadataV2(t *testing.T) {
	base := testBase(t)
	// The suite asks for the type of its database. The tests of a SQL database are the right ones here.
	base.DefaultTestCluster = &sql.TestCluster{}
	suite.Run(t, &metadataSuite{persistencetests.MetadataPersistenceSuiteV2{TestBase: base}})
}

// metadataSuite is Temporal's suite, without the removal of the SQL database that it never made.
type metadataSuite struct {
	persistencetests.MetadataPersistenceSuiteV2
}

func (s *metadataSuite) TearDownSuite() {
	s.DefaultTestCluster = cluster{}
	s.MetadataPersistenceSuiteV2.TearDownSuite()
}

func TestQueue(t *testing.T) {
	t.Parallel()
	suite.Run(t, &persistencetests.QueuePersistenceSuite{TestBase: testBase(t)})
}

// TestClusterMetadata is not parallel, because Temporal's suite reads records that expire after a second.
func TestClusterMetadata(t *testing.T) {
	suite.Run(t, &clusterMetadataSuite{persistencetests.ClusterMetadataManagerSuite{TestBase: testBase(t)}})
}

// clusterMetadataSuite is Temporal's suite, with more time where it writes a hundred records within their expiry of three seconds.
type clusterMetadataSuite struct {
	persistencetests.ClusterMetadataManagerSuite
}

func (s *clusterMetadataSuite) TestClusterMembershipUpsertCanPageRead() {
	const hosts = 100
	ctx, manager := context.Background(), s.ClusterMetadataManager
	expected := make(map[string]int, hosts)
	upsert := func(id []byte, expiry time.Duration) {
		s.Require().NoError(manager.UpsertClusterMembership(ctx, &persistence.UpsertClusterMembershipRequest{
			HostID:       id,
			RPCAddress:   net.ParseIP("127.0.0.2"),
			RPCPort:      123,
			Role:         persistence.Frontend,
			SessionStart: time.Now().UTC(),
			RecordExpiry: expiry,
		}))
	}
	for range hosts {
		id := uuid.New()
		expected[string(id[:])]++
		upsert(id[:], time.Hour)
	}
	request := &persistence.GetClusterMembersRequest{PageSize: 9}
	for {
		page, err := manager.GetClusterMembers(ctx, request)
		s.Require().NoError(err)
		for _, member := range page.ActiveMembers {
			expected[string(member.HostID)]--
		}
		if request.NextPageToken = page.NextPageToken; request.NextPageToken == nil {
			break
		}
	}
	s.Len(expected, hosts)
	for id, left := range expected {
		s.Zero(left)
		upsert([]byte(id), time.Second)
	}
	s.Eventually(func() bool {
		s.NoError(manager.PruneClusterMembership(ctx, &persistence.PruneClusterMembershipRequest{MaxRecordsPruned: hosts}))
		found, err := manager.GetClusterMembers(ctx, &persistence.GetClusterMembersRequest{LastHeartbeatWithin: time.Hour})
		return err == nil && len(found.ActiveMembers) == 0
	}, time.Minute, 100*time.Millisecond)
}
