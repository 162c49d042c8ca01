package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
)

var background = context.Background()

// A call carries its operation, the time that is left, Temporal's caller and its arguments; its answer comes back whole.
func TestCallAndAnswer(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	require.EqualValues(t, 4, client.HistoryShards())
	ctx, cancel := context.WithTimeout(headers.SetCallerInfo(background, headers.NewCallerInfo("shop", headers.CallerTypeAPI, "StartWorkflowExecution")), time.Hour)
	defer cancel()
	done := doing(ctx, client, Call{Operation: "shards.get_or_create_shard", Shard: 3, Arguments: msgp.AppendMapHeader(nil, 0)})
	m := s.read()
	decoded, _, err := msgp.ReadIntfBytes(m.content)
	require.NoError(t, err)
	array := decoded.([]any)
	require.Equal(t, "shards.get_or_create_shard", array[0])
	require.InDelta(t, time.Hour.Milliseconds(), array[1], float64(patience.Milliseconds()))
	require.Equal(t, "api/shop/StartWorkflowExecution", array[2])
	require.Equal(t, map[string]any{}, array[3])
	s.write(frameAnswer, m.id, []byte("result"))
	require.Equal(t, []byte("result"), receive(t, done).answer)
}

// Answers find their callers in whatever order they arrive.
func TestAnswersInAnotherOrder(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	first := doing(background, client, Call{Operation: "a"})
	firstID, _ := s.call()
	second := doing(background, client, Call{Operation: "b"})
	secondID, _ := s.call()
	s.write(frameAnswer, secondID, []byte("second"))
	require.Equal(t, []byte("second"), receive(t, second).answer)
	s.write(frameAnswer, firstID, []byte("first"))
	require.Equal(t, []byte("first"), receive(t, first).answer)
}

// An ERROR keeps its kinds, flags and fields.
func TestErrorOfAStore(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	done := doing(background, client, Call{Operation: "a", Write: true})
	id, _ := s.call()
	s.fail(id, []any{"WorkflowConditionFailed", "ConditionFailed", "StrongroomError"}, false, map[string]any{"next_event_id": 7, "run_id": []byte{1}})
	failure := receive(t, done).err
	require.Equal(t, []string{"WorkflowConditionFailed", "ConditionFailed", "StrongroomError"}, failure.Kinds)
	require.Equal(t, "failed", failure.Message)
	require.True(t, failure.Retryable)
	require.False(t, failure.MayHaveBeenCommitted)
	require.EqualValues(t, 7, failure.Fields["next_event_id"])
	require.Equal(t, []byte{1}, failure.Fields["run_id"])
}

// A large call goes out in parts, a small one gets between them, and a large answer is put together.
func TestPartsTakeTurns(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	large := bytes.Repeat([]byte("large"), 1<<20)
	slow := doing(background, client, Call{Operation: "slow", Arguments: large})
	f, err := readFrame(s.reader) // the socket is full of parts soon, so that the small call is queued behind them
	require.NoError(t, err)
	fast := doing(background, client, Call{Operation: "fast", Arguments: []byte{0x80}})
	received := map[uint32][]byte{}
	var order []uint32
	for {
		part := make([]byte, f.size)
		_, err := io.ReadFull(s.reader, part)
		require.NoError(t, err)
		received[f.id] = append(received[f.id], part...)
		if f.last {
			order = append(order, f.id)
		}
		if len(order) == 2 {
			break
		}
		f, err = readFrame(s.reader)
		require.NoError(t, err)
	}
	require.True(t, bytes.HasSuffix(received[order[1]], large), "the large call ends last, and is complete")
	for start := 0; start < len(large); start += partSize {
		end := min(start+partSize, len(large))
		s.raw(append(appendHeader(nil, frameAnswer, end == len(large), order[1], end-start), large[start:end]...))
		if start == 0 {
			s.write(frameAnswer, order[0], []byte("fast"))
			require.Equal(t, []byte("fast"), receive(t, fast).answer)
		}
	}
	require.True(t, bytes.Equal(large, receive(t, slow).answer))
}

// A call that a message can't hold is refused before any byte of it is sent.
func TestCallTooLarge(t *testing.T) {
	p := newPeer(t)
	client, _ := connected(t, p, nil, nil)
	failure := receive(t, doing(background, client, Call{Operation: "a", Write: true, Arguments: make([]byte, messageSize)})).err
	require.True(t, failure.IsKind("TransactionSizeLimit"))
	require.False(t, failure.MayHaveBeenCommitted)
}

// Shards and task queues go to the workers that PROTOCOL.md names, everything else to worker 0.
func TestRouting(t *testing.T) {
	p := newPeer(t)
	second := listenOn(t, p.path+".1")
	client, zero := connected(t, p, map[string]any{"workers": 2}, nil)
	one := second.greet(map[string]any{"workers": 2, "worker": 1})
	for _, each := range []struct {
		call Call
		side *side
	}{
		{Call{Operation: "a"}, zero},
		{Call{Operation: "b", Shard: 1}, zero},
		{Call{Operation: "c", Shard: 4}, one},
		{Call{Operation: "d", QueueKey: []byte("123456789")}, zero}, // crc32 is 0xCBF43926
		{Call{Operation: "e", QueueKey: []byte("a")}, one},          // crc32 is 0xE8B7BE43
	} {
		done := doing(background, client, each.call)
		id, operation := each.side.call()
		require.Equal(t, each.call.Operation, operation)
		each.side.write(frameAnswer, id, nil)
		require.Nil(t, receive(t, done).err)
	}
}

// After a restart with another number of workers, calls go to the workers that there are now.
func TestAnotherNumberOfWorkers(t *testing.T) {
	p := newPeer(t)
	second := listenOn(t, p.path+".1")
	client, zero := connected(t, p, map[string]any{"workers": 2}, nil)
	one := second.greet(map[string]any{"workers": 2, "worker": 1})
	require.NoError(t, zero.socket.Close())
	require.NoError(t, one.socket.Close())
	require.NoError(t, second.listener.Close())
	zero = p.greet(map[string]any{"workers": 1})
	require.Eventually(t, func() bool { return len(*client.cell.links.Load()) == 1 }, patience, time.Millisecond)
	done := doing(background, client, Call{Operation: "a", Shard: 4})
	id, _ := zero.call()
	zero.write(frameAnswer, id, nil)
	require.Nil(t, receive(t, done).err)
}

// Clients of one socket share their connections until the last one is closed.
func TestClientsShareConnections(t *testing.T) {
	p := newPeer(t)
	first, s := connected(t, p, nil, nil)
	second, err := dial(background, Options{Socket: p.path, HistoryShards: 4}, quick)
	require.NoError(t, err)
	_, err = dial(background, Options{Socket: p.path, HistoryShards: 8}, quick)
	require.ErrorContains(t, err, "numHistoryShards is 8, and the cell on "+p.path+" has 4 shards")
	first.Close()
	first.Close()
	done := doing(background, second, Call{Operation: "a"})
	id, _ := s.call()
	s.write(frameAnswer, id, nil)
	require.Nil(t, receive(t, done).err)
	second.Close()
	s.ended()
}

// Many callers at once keep their answers apart. The race detector watches.
func TestManyCallers(t *testing.T) {
	p := newPeer(t)
	client, s := connected(t, p, nil, nil)
	const calls = 400
	go func() {
		for range calls {
			m, err := s.next()
			if err != nil {
				return
			}
			_, _ = s.socket.Write(appendMessage(nil, frameAnswer, m.id, m.content[len(m.content)-8:]))
		}
	}()
	var wait sync.WaitGroup
	for caller := range 16 {
		wait.Go(func() {
			for i := range calls / 16 {
				text := fmt.Sprintf("%02d/%05d", caller, i)
				answer, err := client.Do(background, Call{Operation: "a", Arguments: msgp.AppendString(nil, text)})
				if err != nil || string(answer) != text {
					t.Errorf("%q, %v instead of %q", answer, err, text)
					return
				}
			}
		})
	}
	wait.Wait()
}

// A signal ends the wait of a server that starts, long before the time is over.
func TestASignalEndsTheWaitAtStart(t *testing.T) {
	sent := time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM) })
	defer sent.Stop()
	// Until the first handler is set, the signal would end the test.
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGTERM)
	defer signal.Stop(received)
	began := time.Now()
	_, err := DialAtStart(time.Minute, Options{Socket: filepath.Join(t.TempDir(), "nobody.sock"), HistoryShards: 4, Logger: log.NewNoopLogger(), Metrics: metrics.NoopMetricsHandler})
	require.ErrorContains(t, err, "stopped by a signal")
	require.Less(t, time.Since(began), 30*time.Second)
}
