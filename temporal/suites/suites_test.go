package suites

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/suite"
	"go.temporal.io/server/common/log"
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

func TestClusterMetadata(t *testing.T) {
	t.Parallel()
	suite.Run(t, &persistencetests.ClusterMetadataManagerSuite{TestBase: testBase(t)})
}
